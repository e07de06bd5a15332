"""TLS with a certificate of the site's own authority."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import running


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = tmp_path / "tls.crt", tmp_path / "tls.key"
    crt.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return crt, pem


def test_https_is_served_and_plain_http_is_not(tmp_path, upstream, certificate):
    """With a certificate in the settings the listener speaks TLS only."""
    crt, key = certificate
    home = tmp_path / "home"
    settings = (
        f'[server]\ntls_certificate = "{crt}"\ntls_key = "{key}"\n'
        + running.upstream_settings(upstream.url)
    )
    keys = running.make_home(home, settings)
    trust = ssl.create_default_context(cafile=str(crt))
    gateway = running.start(home, keys, context=trust)
    try:
        answer = httpx.get(
            f"{gateway.url}/v1/models",
            headers={"Authorization": f"Bearer {keys['clinician']}"},
            verify=trust,
            trust_env=False,
        )
        assert answer.status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(gateway.url.replace("https", "http"), trust_env=False)
    finally:
        gateway.stop()
