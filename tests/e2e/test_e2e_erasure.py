"""A request to be forgotten, a month that is over, and a backup: beside a real gateway."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx

from audit.ledger import Ledger
from audit.record import Entry
from tests import running
from tests.simulator import Upstream

SUBJECT = "MRN 55-0193"


def ask(gateway: running.Gateway, subject: str) -> None:
    done = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={
            "model": "auto",
            "messages": [{"role": "user", "content": f"A visit was planned. Ref {subject}."}],
            "metadata": {"subject": subject},
        },
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=30,
        trust_env=False,
    )
    assert done.status_code == 200, done.text


def auditlog(home, command, *arguments, check=True):
    words = [*command.split(), str(home), *arguments, "--key", str(home / "demo-auditor.pem")]
    return running.cli(home, *words, "-o", "json", module="audit", check=check)


def erase(home):
    options = ["--subject", "mrn 550193", "--ground", "17(1)(a)"]
    return json.loads(auditlog(home, "erase", *options, check=False))


def texts_of(home):
    shown = auditlog(home, "show", "--keystore", str(home / "keystore.db")).splitlines()
    rows = [json.loads(row) for row in shown]
    assert all("subject" not in row.get("sealed", {}) for row in rows)
    subjects = {row["index"]: row["text"].get("subject") for row in rows if "text" in row}
    return {index for index, subject in subjects.items() if subject == SUBJECT}


def test_erased_beside_a_running_gateway(tmp_path):
    """What was asked about the subject goes, what is asked later does not; a backup obeys."""
    with Upstream() as upstream:
        home = tmp_path / "home"
        keys = running.make_home(home, running.upstream_settings(upstream.url))
        gateway = running.start(home, keys)
        try:
            ask(gateway, SUBJECT)
            ask(gateway, "MRN 2")
            before = texts_of(home)
            assert len(before) == 2
            running.cli(home, "backup", "create", "keystore", "--out", str(tmp_path / "old"))
            done = erase(home)
            assert (set(done["records"]), done["refused"]) == (before, None)
            assert texts_of(home) == set()
            ask(gateway, SUBJECT)
            after = texts_of(home)
            assert len(after) == 2
            assert before.isdisjoint(after)
        finally:
            gateway.stop()
    for path in home.glob("keystore.db*"):
        path.unlink()
    told = running.cli(home, "backup", "restore", str(tmp_path / "old"), "-o", "json")
    assert json.loads(told)["erased_again"] == done["keys"]
    assert before.isdisjoint(texts_of(home))
    verdict = running.cli(home, "verify", str(home), "-o", "json", module="audit", check=False)
    assert json.loads(verdict)["code"] == 10


def test_a_floor_refuses_and_past_months_expire_at_the_start(tmp_path):
    """The settings' floor keeps records from erasure; keys of a month that is over are gone."""
    with Upstream() as upstream:
        home = tmp_path / "home"
        keys = running.make_home(home, running.upstream_settings(upstream.url))
        settings = home / "settings.toml"
        assert "[ledger]" not in settings.read_text()
        with settings.open("a") as file:
            file.write("\n[ledger]\nfloor_months = 6\n")
        for when, months in ((datetime(2020, 1, 5, tzinfo=UTC), 1), (datetime.now(UTC), 72)):
            ledger = Ledger.open(home, clock=lambda when=when: when)
            ledger.submit(Entry("mask-run", texts={"note": "x"}, retain_months=months)).result()
            ledger.close()
        gateway = running.start(home, keys)
        try:
            ask(gateway, SUBJECT)
            refused = erase(home)
            assert refused["refused"]["exception"] == "17(3)(b)"
            assert len(texts_of(home)) == 2
        finally:
            gateway.stop()
        shown = auditlog(home, "show", "--keystore", str(home / "keystore.db")).splitlines()
        rows = [json.loads(row) for row in shown]
        runs = [row for row in rows if row["event"] == "mask-run"]
        assert ["unreadable" in row for row in runs] == [True, False]
        through = [r["features"]["through"] for r in rows if r["event"] == "keys.expired"]
        assert len(through) == 1
