"""Time stamps by `openssl ts` as the authority: requests it takes, answers that verify."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from audit.cli import app
from tests.auditkit import make_home

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
pytest.importorskip("rfc3161_client", reason="the extra `timestamps` is not installed")

CONFIG = """
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[stamp]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def make_authority(folder):
    """A root and an authority under it, with keys of their own."""
    folder.mkdir()
    (folder / "ts.cnf").write_text(CONFIG)
    (folder / "serial").write_text("01\n")
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-config", "ts.cnf")
    openssl(folder, *new, "-x509", "-days", "30", "-subj", "/CN=root", "-extensions", "ca",
            "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    openssl(folder, *new, "-subj", "/CN=authority", "-keyout", "tsa.key", "-out", "tsa.csr")
    openssl(folder, "x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-days", "30", "-CAcreateserial", "-extfile", "ts.cnf", "-extensions", "tsa",
            "-out", "tsa.pem")  # fmt: skip
    return folder


def stamp(authority, request, response):
    openssl(authority, "ts", "-reply", "-config", "ts.cnf", "-section", "stamp",
            "-queryfile", str(request), "-out", str(response))  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log, a request over its newest checkpoint, and the authority's answer."""
    folder = tmp_path_factory.mktemp("stamps")
    authority = make_authority(folder / "tsa")
    make_home(folder / "home").fill(1)
    done = run("timestamp", "request", folder / "home", "--out", folder / "q.tsq")
    assert done.exit_code == 0, done.output
    stamp(authority, folder / "q.tsq", folder / "r.tsr")
    return folder


def verify(place, note, response, root="tsa/ca.pem"):
    return run("timestamp", "verify", note, "--response", response, "--root", place / root)


def test_an_answer_of_the_authority_verifies(place):
    """The time of the stamp is told once signature, chain and imprint are right."""
    done = verify(place, place / "q.tsq.checkpoint.txt", place / "r.tsr")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("stamped 20")


def test_a_stamp_is_kept_with_the_log_once(place):
    """Beside its checkpoint, under the number of records; never overwritten."""
    arguments = ("timestamp", "import", place / "home", "--response", place / "r.tsr",
                 "--checkpoint", place / "q.tsq.checkpoint.txt")  # fmt: skip
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert (place / "home" / "timestamps" / "3.tsr").read_bytes() == (place / "r.tsr").read_bytes()
    assert run(*arguments).exit_code == 1


def test_a_stamp_on_another_checkpoint_does_not_count(place, tmp_path):
    """The text of the checkpoint is what is stamped: size, root and origin."""
    note = (place / "q.tsq.checkpoint.txt").read_text("utf-8")
    (tmp_path / "other.txt").write_text(note.replace("\n3\n", "\n4\n"), "utf-8")
    done = verify(place, tmp_path / "other.txt", place / "r.tsr")
    assert (done.exit_code, "another checkpoint" in done.output) == (1, True)


def test_another_root_or_a_changed_answer_does_not_verify(place, tmp_path):
    """Who signed matters, and every byte of it."""
    make_authority(tmp_path / "other")
    note = place / "q.tsq.checkpoint.txt"
    assert verify(place, note, place / "r.tsr", tmp_path / "other" / "ca.pem").exit_code == 1
    data = (place / "r.tsr").read_bytes()
    for position in (len(data) - 20, len(data) // 2):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        (tmp_path / "changed.tsr").write_bytes(changed)
        assert verify(place, note, tmp_path / "changed.tsr").exit_code == 1
    assert verify(place, note, place / "q.tsq").exit_code == 1
    assert verify(place, note, place / "r.tsr", "tsa/tsa.key").exit_code == 1


def test_a_stamp_survives_the_lines_of_witnesses(place, tmp_path):
    """Signature lines that are added later leave the stamp valid."""
    note = (place / "q.tsq.checkpoint.txt").read_text("utf-8")
    (tmp_path / "more.txt").write_text(note + "\u2014 witness.example AAAAAAAA\n", "utf-8")
    assert verify(place, tmp_path / "more.txt", place / "r.tsr").exit_code == 0


def test_stamps_are_kept_across_rotations_of_the_logs_key(place):
    """One on a head of before comes in afterwards, and so does one on the head of a rotation."""
    home = place / "rotated"
    make_home(home).fill(1)
    for name in ("before", "rotation"):
        done = run("timestamp", "request", home, "--out", place / f"{name}.tsq")
        assert done.exit_code == 0, done.output
        stamp(place / "tsa", place / f"{name}.tsq", place / f"{name}.tsr")
        assert run("keystore", "rotate-signing", home).exit_code == 0
    for name, size in (("before", 3), ("rotation", 4)):
        note = place / f"{name}.tsq.checkpoint.txt"
        done = run("timestamp", "import", home, "--response", place / f"{name}.tsr",
                   "--checkpoint", note)  # fmt: skip
        assert done.exit_code == 0, done.output
        assert (home / "timestamps" / f"{size}.txt").read_bytes() == note.read_bytes()
        assert verify(place, note, place / f"{name}.tsr").exit_code == 0
