"""TLS to a server of a private authority, made with the commands of docs/ops/upstreams.md."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.engine.remote.upstream import Upstream
from gateway.errors import EngineError, SettingsError
from tests.scripted import WHOLE, collect, pool, sends, text_of

DOCUMENTED = re.compile(r"```sh\n# (\w+)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """Two folders, each with an authority of its own, a server for 127.0.0.1, and a gateway."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing. Get it with: sudo apt-get install openssl")
    commands = dict(DOCUMENTED.findall((root / "docs/ops/upstreams.md").read_text()))
    assert list(commands) == ["authority", "server", "gateway"]
    script = "set -eu\n" + "\n".join(commands.values()).replace("10.0.0.5", "127.0.0.1")
    folders = [tmp_path_factory.mktemp(name) for name in ("ours", "theirs")]
    for folder in folders:
        subprocess.run(["sh", "-c", script], cwd=folder, check=True, capture_output=True)
    return folders


def listening(folder: Path, *, demands: bool = True) -> ssl.SSLContext:
    """What a server shows; ``demands``: a certificate, as with ``--ssl-cert-reqs 2``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED if demands else ssl.CERT_NONE
    return context


def shown(folder: Path) -> dict[str, Path]:
    return {
        "client_certificate": folder / "gateway.pem",
        "client_key": folder / "gateway.key",
    }


async def test_both_sides_show_a_certificate_of_the_same_authority(made):
    """The server's is for its address; the gateway's opens the door."""
    ours, _ = made
    settings = {"ca_file": ours / "ca.pem", **shown(ours)}
    async with pool(sends(WHOLE), tls=listening(ours), **settings) as (engine, (server,)):
        assert text_of(await collect(engine)) == "Hello"
        assert len(server.seen) == 1


# which CA the gateway trusts, what it shows, what the server demands
REFUSED = {
    "an authority that is not ours": ("theirs", None, False),
    "the system's authorities": (None, None, False),
    "no client certificate": ("ours", None, True),
    "a client certificate of another authority": ("ours", "theirs", True),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_without_trust_on_both_sides_no_prompt_is_sent(made, name: str):
    """An error without the library's text, and nothing that the server could read."""
    folders = dict(zip(("ours", "theirs"), made, strict=True))
    trusted, certificate, demands = REFUSED[name]
    settings = shown(folders[certificate]) if certificate else {}
    settings["ca_file"] = folders[trusted] / "ca.pem" if trusted else None
    tls = listening(folders["ours"], demands=demands)
    async with pool(sends(WHOLE), tls=tls, **settings) as (engine, (server,)):
        with pytest.raises(EngineError) as caught:
            await collect(engine)
        assert type(caught.value) is EngineError
        assert server.seen == []


def readdressed(folder: Path, to: Path) -> Path:
    """A copy whose server's certificate is for 127.0.0.2, signed by the same authority."""
    shutil.copytree(folder, to)
    names = to / "server.ext"
    names.write_text(names.read_text().replace("127.0.0.1", "127.0.0.2"))
    renew = (
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365"
        " -extfile server.ext -out server.pem"
    )
    subprocess.run(["sh", "-c", renew], cwd=to, check=True, capture_output=True)
    return to


async def test_a_certificate_for_another_address_is_refused(made, tmp_path):
    """Of the same authority, for a server that this one is not."""
    ours, _ = made
    tls = listening(readdressed(ours, tmp_path / "copy"), demands=False)
    async with pool(sends(WHOLE), tls=tls, ca_file=ours / "ca.pem") as (engine, (server,)):
        with pytest.raises(EngineError):
            await collect(engine)
        assert server.seen == []


async def test_one_of_two_with_a_wrong_certificate_is_not_noticed(made):
    """The other one answers."""
    ours, theirs = made
    settings = {"ca_file": ours / "ca.pem", **shown(ours)}
    async with pool(sends(WHOLE), sends(WHOLE), tls=listening(ours), **settings) as (
        engine,
        (first, second),
    ):
        await first.stop()
        await first.start(listening(theirs))
        for _ in range(2):
            assert text_of(await collect(engine)) == "Hello"
        assert (len(first.seen), len(second.seen)) == (0, 2)


def test_a_key_with_a_password_is_refused_at_start(made, tmp_path):
    """Rather than asked for on a terminal where nobody sits."""
    ours, _ = made
    locked = ["openssl", "ec", "-in", ours / "gateway.key", "-aes256", "-passout", "pass:secret"]
    subprocess.run([*locked, "-out", tmp_path / "key"], check=True, capture_output=True)
    upstream = Upstream(
        "m",
        ("https://127.0.0.1:1/v1",),
        "m",
        9,
        client_certificate=ours / "gateway.pem",
        client_key=tmp_path / "key",
    )
    with pytest.raises(SettingsError):
        upstream.tls()
