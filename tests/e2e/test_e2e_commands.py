"""The command lines as an operator uses them, against real homes and a running gateway."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import httpx
import pytest

from tests import planted, running


def gateway_run(home, *args, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "gateway", *args],
        env=running.environment(home),
        cwd=running.ROOT,
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )


# --- init -----------------------------------------------------------------------------------------


def test_init_prints_each_key_once_and_keeps_no_private_key(tmp_path):
    """The first call makes a home of mode 0700 and shows its keys; the second shows nothing."""
    home = tmp_path / "home"
    shown = json.loads(gateway_run(home, "init", "-o", "json").stdout)["shown"]
    assert set(shown) == {"clinician", "lawyer", "auditor", "admin", "auditor private key"}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files} == {0}
    kept = b"".join(path.read_bytes() for path in files)
    assert planted.leaks(kept, [s.strip() for s in shown.values() if "\n" not in s.strip()]) == []
    assert b"PRIVATE KEY" not in kept
    again = json.loads(gateway_run(home, "init", "-o", "json").stdout)
    assert again["created"] == []
    assert again["shown"] == {}


def test_init_takes_an_auditors_public_key(tmp_path):
    """With a key of `auditlog keygen` none is made here, and its owner can read the log."""
    key = tmp_path / "auditor.pem"
    running.cli(tmp_path, "keygen", "--out", str(key), "--name", "site-auditor", module="audit")
    home = tmp_path / "home"
    shown = gateway_run(home, "init", "-o", "json", "--auditor", str(key) + ".pub").stdout
    assert "auditor private key" not in json.loads(shown)["shown"]
    gateway_run(
        home, "keys", "issue", "--principal", "dr-two", "--role", "clinician",
        "--purpose", "treatment",
    )  # fmt: skip
    opened = running.cli(
        home, "show", str(home), "--key", str(key), "--keystore", str(home / "keystore.db"),
        "-o", "json", module="audit",
    )  # fmt: skip
    made, issued, looked = map(json.loads, opened.splitlines())
    assert (made["event"], made["sealed"]["lock"]) == ("home.made", "none")
    assert (issued["event"], issued["sealed"]["for"]) == ("key.issued", "dr-two")
    assert (looked["event"], looked["sealed"]["command"]) == ("seals.opened", "show")


@pytest.mark.parametrize("first", [[], ["--demo"]], ids=["real", "demo"])
def test_a_demo_home_cannot_be_promoted(tmp_path, first):
    """A home is a demo for ever or never."""
    home = tmp_path / "home"
    second = [] if first else ["--demo"]
    assert gateway_run(home, "init", *first).returncode == 0
    refused = gateway_run(home, "init", *second)
    assert refused.returncode == 1
    assert b"demo home" in refused.stderr


# --- listeners ------------------------------------------------------------------------------------


def test_a_listener_beyond_loopback_needs_tls(tmp_path):
    """Without a certificate the gateway refuses to start; so does a demo with one."""
    home = tmp_path / "home"
    gateway_run(home, "init")
    refused = gateway_run(home, "serve", "--host", "0.0.0.0")
    assert refused.returncode == 1
    assert b"tls_certificate" in refused.stderr
    demo = tmp_path / "demo"
    gateway_run(demo, "init", "--demo")
    refused = gateway_run(demo, "serve", "--host", "0.0.0.0")
    assert refused.returncode == 1
    assert b"loopback" in refused.stderr


def test_a_taken_port_is_named_before_anything_starts(gateway, tmp_path):
    """One line says which port; no start goes on record."""
    home = tmp_path / "home"
    gateway_run(home, "init")
    taken = gateway_run(home, "serve", "--port", str(gateway.port))
    assert taken.returncode == 1
    assert f"Port {gateway.port} on 127.0.0.1 cannot be used".encode() in taken.stderr
    assert b"gateway_started" not in taken.stderr
    verdict = running.cli(home, "verify", str(home), "-o", "json", module="audit", check=False)
    assert json.loads(verdict)["records"] == 1  # that the home was made


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ('[engine]\ndefault_model = "nope"\n', b"engine.default_model"),
        ('[policy]\nin_force = ["hippa"]\n', b"policy.in_force"),
        ("[server]\nprot = 1\n", b"prot"),
    ],
    ids=["model", "policy", "key"],
)
def test_a_setting_that_means_nothing_keeps_the_gateway_from_starting(tmp_path, settings, named):
    """The error names the key of the settings file."""
    home = tmp_path / "home"
    running.make_home(home, settings)
    done = gateway_run(home, "serve", "--port", str(running.free_port()))
    assert done.returncode != 0
    assert named in done.stderr


# --- keys -----------------------------------------------------------------------------------------


def ask(gateway, key, **headers):
    return httpx.post(
        f"{gateway.url}/v1/deidentify",
        json={"text": "MRN: 84720193"},
        headers={"Authorization": f"Bearer {key}", **headers},
        trust_env=False,
    )


def test_keys_are_issued_rotated_and_revoked_under_a_running_gateway(gateway):
    """Each change holds at the next request, and each is a record that the log verifies."""
    issued = json.loads(
        gateway_run(
            gateway.home, "keys", "issue", "--principal", "dr-two", "--role", "clinician",
            "--purpose", "treatment", "-o", "json",
        ).stdout
    )  # fmt: skip
    assert ask(gateway, issued["key"]).status_code == 200
    assert ask(gateway, issued["key"], **{"X-Purpose": "marketing"}).status_code == 403
    rotated = json.loads(
        gateway_run(
            gateway.home, "keys", "rotate", issued["id"], "--grace-hours", "0", "-o", "json"
        ).stdout
    )
    assert ask(gateway, issued["key"]).status_code == 401
    assert ask(gateway, rotated["key"]).status_code == 200
    assert gateway_run(gateway.home, "keys", "revoke", rotated["id"]).returncode == 0
    assert ask(gateway, rotated["key"]).status_code == 401
    listed = json.loads(gateway_run(gateway.home, "keys", "list", "-o", "json").stdout)
    states = {row["id"]: row["state"] for row in listed}
    assert states[rotated["id"]] == "revoked"
    assert issued["key"] not in json.dumps(listed)
    verdict = json.loads(
        running.cli(
            gateway.home, "verify", str(gateway.home), "-o", "json", module="audit", check=False
        )
    )
    assert verdict["code"] == 10


# --- mask -----------------------------------------------------------------------------------------

ROWS = [
    {"id": "a", "text": planted.LETTER},
    {"id": 7, "text": "Nothing personal here.", "language": "en"},
    {"id": "c", "text": "Herr Quorvex, geboren am 3. Mai 1961", "language": "de"},
]


def test_mask_streams_rows_in_order_and_loses_nothing_to_a_bad_one(tmp_path):
    """Bad rows become error rows and exit 1; offsets are those of the text that was sent."""
    home = tmp_path / "home"
    gateway_run(home, "init", "--demo")
    lines = [json.dumps(row) for row in ROWS]
    lines.insert(1, "{broken")
    lines.insert(3, '{"id": "no-text"}')
    done = gateway_run(home, "mask", "--jsonl", stdin=("\n".join(lines) + "\n").encode())
    out = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row["id"] for row in out] == ["a", None, 7, "no-text", "c"]
    assert [row.get("error") for row in out] == [None, "bad_row", None, "bad_row", None]
    assert planted.leaks(done.stdout + done.stderr) == []
    for entity in out[0]["entities"]:
        assert planted.LETTER[entity["start"] : entity["end"]]
        assert set(entity) == {
            "entity_type", "start", "end", "score", "operator", "replacement",
        }  # fmt: skip
    assert [row.get("line") for row in out] == [None, 2, None, 4, None]
    searched = {"asked": "en", "searched": ["en", "es", "fr", "de"], "known": True}
    assert out[2] == {"id": 7, "text": ROWS[1]["text"], "entities": [], "language": searched}
    shown = running.cli(
        home, "show", str(home), "-o", "json", "--key", str(home / "demo-auditor.pem"),
        "--keystore", str(home / "keystore.db"), module="audit",
    )  # fmt: skip
    events = [json.loads(line)["event"] for line in shown.splitlines()]
    assert events == ["home.made", "mask-run", "seals.opened"]


def test_mask_of_good_rows_exits_0(tmp_path):
    """No bad row, no error."""
    home = tmp_path / "home"
    gateway_run(home, "init", "--demo")
    stdin = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    done = gateway_run(home, "mask", "--jsonl", stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(ROWS)


# --- models, doctor -------------------------------------------------------------------------------


def test_a_file_that_is_no_model_is_refused(tmp_path):
    """A corrupt GGUF never enters a home."""
    home = tmp_path / "home"
    gateway_run(home, "init", "--demo")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 400)
    refused = gateway_run(home, "models", "add", str(bad))
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"gateway: ")
    assert list((home / "models").glob("*.gguf")) == []


def test_the_bundled_model_is_listed_and_intact(tmp_path):
    """The model in the box has the digest of its card."""
    home = tmp_path / "home"
    gateway_run(home, "init", "--demo")
    rows = json.loads(gateway_run(home, "models", "list", "-o", "json").stdout)
    assert rows[0]["bundled"] is True
    assert rows[0]["decoding"] == "extractive"
    assert gateway_run(home, "models", "verify", rows[0]["name"]).returncode == 0


def test_the_doctor_reports_in_json(tmp_path):
    """Every check has a name, a status and a detail, and the exit status follows the failures."""
    home = tmp_path / "home"
    gateway_run(home, "init", "--demo")
    done = gateway_run(home, "doctor", "-o", "json")
    report = json.loads(done.stdout)
    assert {check["status"] for check in report["checks"]} <= {"ok", "warn", "fail"}
    assert report["ok"] is (done.returncode == 0)
    assert {"isolation", "ledger", "policy", "tripwire"} <= {c["check"] for c in report["checks"]}
