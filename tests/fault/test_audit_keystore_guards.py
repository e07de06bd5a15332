"""The key store locked by a real SoftHSM2 token, and by a server that speaks the transit API."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import KeyStoreError
from audit.keyring import SubjectKey
from audit.keys import KeyStore
from audit.keystore.change import state
from audit.keystore.transit import Transit
from tests.auditkit import intent, make_home, quick_folder

LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
LIBRARY = next((path for path in LIBRARIES if Path(path).exists()), None)
PIN = "481516"
TOKEN = "token-of-the-test"

needs_softhsm = pytest.mark.skipif(
    LIBRARY is None or shutil.which("softhsm2-util") is None,
    reason="SoftHSM2 is missing: apt-get install softhsm2",
)


@pytest.fixture
def home():
    with quick_folder() as folder:
        yield make_home(folder / "home")


def secret_file(path, text):
    path.write_text(text + "\n")
    path.chmod(0o600)


def auditlog(home, *arguments, code=0, environment=None):
    """Run a command in a process of its own: a PKCS#11 library is loaded once in each."""
    command = [sys.executable, "-m", "audit", "keystore", *map(str, arguments)]
    done = subprocess.run(
        command,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done


# --- PKCS#11 ----------------------------------------------------------------------------------

MAKE_KEY = """
import sys, pkcs11
token = pkcs11.lib(sys.argv[1]).get_token(token_label="hospital")
with token.open(rw=True, user_pin=sys.argv[2]) as session:
    session.generate_key(pkcs11.KeyType.AES, 256, label=sys.argv[3], store=True)
"""
READ = """
import sys
from contextlib import closing
from pathlib import Path
from audit.keys import KeyStore
with closing(KeyStore.open(Path(sys.argv[1]), readonly=True)) as store:
    print(store.key(bytes.fromhex(sys.argv[2])).hex(), store.signing_key.name)
"""
RECORD = """
import sys
from pathlib import Path
from audit.ledger import record_act
from audit.record import Entry
print(record_act(Path(sys.argv[1]), Entry("key.issued")).index)
"""


def python(code, *arguments, environment):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def hsm(tmp_path):
    """A token of its own, with two AES keys; gives the environment that finds it."""
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n")
    environment = {"SOFTHSM2_CONF": str(configuration)}
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "hospital",
         "--pin", PIN, "--so-pin", "1234567"],
        env=os.environ | environment, check=True, capture_output=True,
    )  # fmt: skip
    for label in ("kek", "other"):
        made = python(MAKE_KEY, LIBRARY, PIN, label, environment=environment)
        assert made.returncode == 0, made.stderr
    return environment


def hsm_settings(home, *, key="kek", pin=PIN, lock="pkcs11"):
    secret_file(home.path / "pin", pin)
    (home.path / "settings.toml").write_text(
        f'[keystore]\nlock = "{lock}"\npkcs11_module = "{LIBRARY}"\npkcs11_token = "hospital"\n'
        f'pkcs11_key = "{key}"\npkcs11_pin_file = "pin"\n'
    )


@needs_softhsm
def test_a_key_in_an_hsm_locks_rotates_and_unlocks(home, hsm):
    """The rows open through the token, records are written, and no key is in the open."""
    one = SubjectKey(os.urandom(16), "2032-03", os.urandom(32))
    with closing(KeyStore.open(home.path / "keystore.db")) as store:
        store.add([one])
    hsm_settings(home)
    path = home.path / "keystore.db"
    auditlog(home, "lock", home.path, environment=hsm)
    assert state(path).kind == "pkcs11"
    assert one.key not in b"".join(p.read_bytes() for p in home.path.glob("keystore.db*"))
    auditlog(home, "rotate", home.path, environment=hsm)
    assert python(RECORD, home.path, environment=hsm).stdout == "2\n"
    read = python(READ, path, one.id.hex(), environment=hsm)
    assert read.stdout.split()[0] == one.key.hex(), read.stderr
    hsm_settings(home, lock="none")
    auditlog(home, "unlock", home.path, environment=hsm)
    assert python(READ, path, one.id.hex(), environment={}).stdout.split()[0] == one.key.hex()


@needs_softhsm
def test_a_passphrase_is_exchanged_for_an_hsm(home, hsm):
    """What opened it before opens it no more."""
    secret_file(home.path / "phrase", "an old passphrase")
    settings = home.path / "settings.toml"
    settings.write_text('[keystore]\nlock = "passphrase"\npassphrase_file = "phrase"\n')
    auditlog(home, "lock", home.path)
    old = home.path / "old-settings.toml"
    settings.rename(old)
    hsm_settings(home)
    auditlog(home, "change", home.path, "--old-settings", old, environment=hsm)
    assert state(home.path / "keystore.db").kind == "pkcs11"
    settings.unlink()
    old.rename(settings)
    auditlog(home, "rotate", home.path, code=1)


@needs_softhsm
@pytest.mark.parametrize("wrong", ["pin", "key", "other", "module", "token"])
def test_an_hsm_that_does_not_open_is_one_line(home, hsm, wrong):
    """Another PIN, key, library or token: exit 1, and nothing is said of the PIN."""
    hsm_settings(home)
    auditlog(home, "lock", home.path, environment=hsm)
    hsm_settings(
        home,
        key={"key": "absent", "other": "other"}.get(wrong, "kek"),
        pin="000000" if wrong == "pin" else PIN,
    )
    settings = home.path / "settings.toml"
    if wrong == "module":
        settings.write_text(settings.read_text().replace("libsofthsm2.so", "libabsent.so"))
    if wrong == "token":
        settings.write_text(settings.read_text().replace('"hospital"', '"clinic"'))
    failed = auditlog(home, "rotate", home.path, code=1, environment=hsm)
    assert failed.stderr.startswith("auditlog: the HSM cannot be used")
    assert failed.stderr.count("\n") == 1
    assert PIN not in failed.stderr


# --- transit ----------------------------------------------------------------------------------


class TransitServer(ThreadingHTTPServer):
    """Encrypts and decrypts as the transit engine does (POST transit/encrypt/NAME), AES-GCM."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys = {"kek": AESGCM(os.urandom(32))}
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.do_POST()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        _, _, mount, verb, name = self.path.split("/")
        key = self.server.keys.get(name)
        if self.headers["X-Vault-Token"] != TOKEN or mount != "transit":
            return self._answer(403, {"errors": ["permission denied"]})
        if key is None:
            return self._answer(400, {"errors": ["encryption key not found"]})
        bound = base64.b64decode(body.get("associated_data", ""))
        if verb == "encrypt":
            nonce = os.urandom(12)
            sealed = nonce + key.encrypt(nonce, base64.b64decode(body["plaintext"]), bound)
            text = "vault:v1:" + base64.b64encode(sealed).decode()
            return self._answer(200, {"data": {"ciphertext": text, "key_version": 1}})
        sealed = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"))
        try:
            plain = key.decrypt(sealed[:12], sealed[12:], bound)
        except InvalidTag:
            return self._answer(400, {"errors": ["cipher: message authentication failed"]})
        return self._answer(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})

    def _answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    server = TransitServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def transit():
    with serving() as server:
        yield server


def transit_settings(home, url, *, key="kek", token=TOKEN):
    secret_file(home.path / "token", token)
    (home.path / "settings.toml").write_text(
        f'[keystore]\nlock = "transit"\ntransit_url = "{url}"\ntransit_key = "{key}"\n'
        'transit_token_file = "token"\n'
    )


def test_a_key_on_a_transit_server_locks_and_opens(home, transit, monkeypatch):
    """Records are written and read through it; it is given master keys only, never a row."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    transit_settings(home, transit.url)
    auditlog(home, "lock", home.path)
    auditlog(home, "rotate", home.path)
    with home.ledger() as ledger:
        assert ledger.submit(intent(1)).result().index == 2
    assert state(home.path / "keystore.db").complete
    assert {path for path, _ in transit.seen} == {
        "/v1/transit/encrypt/kek",
        "/v1/transit/decrypt/kek",
    }
    given = [body["plaintext"] for path, body in transit.seen if "/encrypt/" in path]
    assert [len(base64.b64decode(text)) for text in given] == [32, 32]


@pytest.mark.parametrize("wrong", ["token", "key", "changed", "gone"])
def test_a_transit_server_that_does_not_open_is_one_line(home, transit, wrong):
    """Refused, another key, or nobody there: exit 1, and nothing is said of the token."""
    transit_settings(home, transit.url)
    auditlog(home, "lock", home.path)
    url = "http://127.0.0.1:9" if wrong == "gone" else transit.url
    transit_settings(
        home,
        url,
        key="absent" if wrong == "key" else "kek",
        token="another" if wrong == "token" else TOKEN,
    )
    if wrong == "changed":
        transit.keys["kek"] = AESGCM(os.urandom(32))
    failed = auditlog(home, "rotate", home.path, code=1)
    assert failed.stderr.startswith("auditlog: the transit server refuses or cannot be reached")
    assert failed.stderr.count("\n") == 1
    assert TOKEN not in failed.stderr


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:8200", "http://vault.example", "ftp://127.0.0.1", "https://", ""]
)
def test_a_transit_server_beyond_loopback_needs_tls(url):
    """A token is never sent in the clear to another machine."""
    with pytest.raises(KeyStoreError, match="https"):
        Transit(url, "transit", "kek", TOKEN)
