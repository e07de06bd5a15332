"""The site's own policy in a real gateway: retention, alerts, record numbers."""

from __future__ import annotations

import json

import httpx
import pytest

from audit.record import expiry_month
from gateway.clock import utc_now
from tests import running
from tests.simulator import Upstream

NUMBER = "MRN-0042-7731"
POLICY = """name: house
version: 1.0.0
kind: overlay
regulation: House rules 1
jurisdiction: XX
effective: 2025-01-01
owner: o
vocabulary: cloister/1
rules:
  - id: keep
    clause: H 1
    why: w
    when: {role: [clinician]}
    then: {retain: {at_least: 7 years, at_most: 8 years}}
  - id: watch
    clause: H 2
    why: w
    then: {alert: {subjects_per_day: 2}}
"""
IN_FORCE = '\n[policy]\nin_force = ["hipaa", "gdpr", "house"]\n'


def own_policy(home, upstream, text):
    keys = running.make_home(home, running.upstream_settings(upstream.url) + IN_FORCE)
    (home / "policies").mkdir(exist_ok=True)
    (home / "policies" / "house.yaml").write_text(text)
    return keys


def ask(gateway, role, **metadata):
    return httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={
            "model": "upstream",
            "messages": [{"role": "user", "content": "Summarise: the ward is quiet."}],
            "metadata": metadata,
        },
        headers={"Authorization": f"Bearer {gateway.keys[role]}"},
        timeout=60,
        trust_env=False,
    )


def auditlog(home, command, *arguments):
    words = [*command.split(), str(home), *arguments, "--key", str(home / "demo-auditor.pem")]
    return running.cli(home, *words, "-o", "json", module="audit", check=False)


def test_records_follow_the_site_s_policy_and_are_found_by_their_numbers(tmp_path):
    """Expiry, floor and alert as the policy says; the number reaches neither model nor disk."""
    home = tmp_path / "home"
    with Upstream() as upstream:
        gateway = running.start(home, own_policy(home, upstream, POLICY))
        try:
            assert ask(gateway, "clinician", subject="S 1", record_numbers=[NUMBER]).is_success
            assert ask(gateway, "clinician", subject="S 2").is_success
            assert ask(gateway, "lawyer").is_success
            refused = ask(gateway, "clinician", record_numbers=[NUMBER] * 17)
            assert refused.status_code == 400
            assert NUMBER not in refused.text
            erasure = auditlog(home, "erase", "--subject", "S 1", "--ground", "17(1)(a)")
            assert json.loads(erasure)["refused"]["exception"] == "17(3)(b)"
            found = json.loads(auditlog(home, "subject find", "--subject", "mrn 00427731"))
        finally:
            gateway.stop()
        assert NUMBER not in "".join(upstream.seen)
    shown = auditlog(home, "show", "--keystore", str(home / "keystore.db")).splitlines()
    rows = [json.loads(row) for row in shown]
    asked = [row for row in rows if row["event"] in ("intent", "outcome")]
    assert found["records"] == [row["index"] for row in asked[:2]]
    seven, six = (expiry_month(utc_now(), months) for months in (84, 72))
    until = [(row["features"]["role"], row["expires"]) for row in asked]
    assert until == [("clinician", seven)] * 4 + [("lawyer", six)] * 2
    assert asked[0]["sealed"]["retain"] == {"at_least": 84, "at_most": 96, "floor": 84}
    alert = next(row for row in rows if row["event"] == "alert.raised")
    assert alert["features"]["rules"] == ["watch/distinct-subjects", "house/watch"]
    assert alert["sealed"]["set_by"][0]["where"].endswith("house.yaml:15")
    for path in home.rglob("*"):
        assert not path.is_file() or NUMBER.encode() not in path.read_bytes()


def test_policies_without_a_period_start_no_gateway(tmp_path):
    """The fault has its place and both rules."""
    home = tmp_path / "home"
    with Upstream() as upstream:
        short = POLICY.replace("at_least: 7 years, at_most: 8 years", "at_most: 1 year")
        keys = own_policy(home, upstream, short)
        with pytest.raises(AssertionError) as caught:
            running.start(home, keys)
    assert "house.yaml:10:1" in str(caught.value)
    assert "hipaa/documentation-six-years" in str(caught.value)
