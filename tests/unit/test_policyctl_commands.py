"""``policyctl``: what it prints, where, and with which exit code."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from gateway.policy.load import shipped
from gateway.policyctl import main


@pytest.fixture
def policyctl(capsys):
    """Run the command line; give the exit code, standard output and standard error."""

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def site(tmp_path):
    """A site's own copy of a shipped policy, with its truth table beside it."""
    for name in ("hipaa", "hipaa.cases"):
        (tmp_path / f"{name}.yaml").write_bytes(shipped(name).read_bytes())
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def test_validate_accepts_what_ships(policyctl):
    """Without arguments it checks the shipped policies."""
    code, out, err = policyctl("validate")
    assert (code, err) == (0, "")
    assert "policies/gdpr.yaml: gdpr 1.0.0" in out
    assert "policies/hipaa.yaml: hipaa 1.0.0" in out


def test_validate_names_every_faulty_file_and_place(policyctl, site):
    """Exit 2, one line a file with file:line:col, and the good file still listed."""
    (site / "typo.yaml").write_text("nmae: x\n")
    code, out, err = policyctl(
        "validate", site / "typo.yaml", site / "hipaa.yaml", site / "no.yaml"
    )
    assert code == 2
    assert f"{site}/typo.yaml:1:1: unknown key 'nmae'; did you mean 'name'?" in err
    assert f"{site}/no.yaml:1:1: the file cannot be read" in err
    assert "hipaa 1.0.0" in out


def test_validate_knows_the_entity_types_of_detection(policyctl, site):
    """A type that no detector finds is a slip of the pen, reported at its rule."""
    edit(site / "hipaa.yaml", "entity: [US_SSN]", "entity: [US_SNN]")
    code, _, err = policyctl("validate", site / "hipaa.yaml")
    assert code == 2
    assert "rule 'social-security'" in err
    assert "did you mean US_SSN?" in err


def test_test_evaluates_the_truth_tables(policyctl):
    """Exit 0 and the number of combinations that were evaluated."""
    code, out, err = policyctl("test", "-o", "json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert set(result["evaluated"]) == {"policies/gdpr.yaml", "policies/hipaa.yaml"}
    assert all(count > 100 for count in result["evaluated"].values())
    assert result["failed"] == []


def test_test_shows_the_case_that_failed(policyctl, site):
    """Exit 1; the line names the case, its place, what came out and what should have."""
    edit(site / "hipaa.yaml", "operator: redact", "operator: keep")
    code, out, err = policyctl("test", site / "hipaa.yaml")
    assert code == 1
    assert "case 'secrets-reach-no-model (clinician, treatment, SECRET)'" in err
    assert "operator is keep, not redact" in err
    assert f"{site}/hipaa.cases.yaml:" in err
    assert "failed" in out


@pytest.mark.parametrize("left", [None, "policy: hipaa\ncases: []\n"])
def test_test_without_cases_is_no_pass(policyctl, site, left):
    """No truth table is exit 4; an empty one is an invalid file."""
    (site / "hipaa.cases.yaml").unlink()
    if left is not None:
        (site / "hipaa.cases.yaml").write_text(left)
    code, _, err = policyctl("test", site / "hipaa.yaml")
    assert code == (4 if left is None else 2)
    assert ("no case was evaluated" if left is None else "empty list") in err


def test_one_policy_without_cases_fails_the_run(policyctl, site):
    """The cases of one policy do not stand in for those of another."""
    (site / "hipaa.cases.yaml").unlink()
    code, _, err = policyctl("test", "gdpr", site / "hipaa.yaml")
    assert code == 4
    assert "hipaa.yaml" in err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("policy: hipaa", "policy: gdpr", "another policy than 'hipaa'"),
        ("role: [clinician]", "role: [doctor]", "unknown role 'doctor'"),
        ("rule: names}", "rule: names, colour: red}", "unknown key 'colour'"),
        ("id: a-names", "id: c-ages-over-89", "named twice"),
        ("{deny: true, rule: deny-marketing}", "{operator: block}", "name 'entity'"),
        ("expect: {deny: false, rule: permit-public-health}", "expect: {}", "expects nothing"),
    ],
)
def test_a_faulty_truth_table_is_an_invalid_file(policyctl, site, old, new, words):
    """Cases are read as strictly as policies: exit 2 with the place."""
    edit(site / "hipaa.cases.yaml", old, new)
    code, _, err = policyctl("test", site / "hipaa.yaml")
    assert code == 2
    assert err.startswith(f"{site}/hipaa.cases.yaml:")
    assert words in err


def test_explain_leads_from_the_finding_to_the_clause(policyctl):
    """Finding, rule, file and line, clause and why, for every policy in force."""
    code, out, _ = policyctl(
        "explain", "--role", "clinician", "--purpose", "treatment", "--entity", "DATE_TIME"
    )
    assert code == 0
    lines = shipped("gdpr").read_text().splitlines()
    line = lines.index("  - id: pseudonymise") + 1
    assert "clinician for treatment: permitted; zone local" in out
    assert "DATE_TIME: pseudonym, restored" in out
    assert f"gdpr/pseudonymise  policies/gdpr.yaml:{line}" in out
    assert "GDPR Art. 4(5), 25(1), 32(1)(a): The model sees pseudonyms" in out


def test_explain_in_json_carries_the_same(policyctl):
    """One policy alone can be asked; its silence is explained like a rule."""
    code, out, _ = policyctl(
        *("explain", "--policy", "hipaa", "--role", "lawyer", "--purpose", "treatment"),
        *("--entity", "DATE_TIME", "-o", "json"),
    )
    assert code == 0
    result = json.loads(out)
    assert [policy["name"] for policy in result["policies"]] == ["hipaa"]
    denied = result["request"]["denied"][0]
    assert (denied["rule"], denied["clause"]) == ("silence", "45 CFR 164.502(a)")
    assert denied["why"].startswith("Health information may be used only")
    assert result["findings"][0]["operator"] == "block"


def test_digest_is_that_of_the_bytes(policyctl, site):
    """What ``sha256sum`` says of the file; another byte is another digest."""
    before = hashlib.sha256((site / "hipaa.yaml").read_bytes()).hexdigest()
    code, out, _ = policyctl("digest", site / "hipaa.yaml")
    assert code == 0
    assert out.startswith(f"{before}  hipaa 1.0.0")
    edit(site / "hipaa.yaml", "owner: privacy officer", "owner: someone else")
    assert before not in policyctl("digest", site / "hipaa.yaml")[1]


def test_schema_prints_json(policyctl):
    """What an editor is given is a JSON Schema that lists the entity types."""
    code, out, _ = policyctl("schema")
    assert code == 0
    assert json.loads(out)["$schema"].endswith("2020-12/schema")
    assert '"US_SSN"' in out


@pytest.mark.parametrize(
    "args",
    [
        ["explain", "--role", "doctor", "--purpose", "treatment"],
        ["explain", "--role", "clinician"],
        ["validate", "-o", "xml"],
        ["prove-it"],
        ["digest", "/nowhere/policy.yaml"],
        [],
    ],
)
def test_wrong_usage_is_exit_2(policyctl, args):
    """Unknown roles, commands, formats and files are the caller's mistake."""
    code, out, err = policyctl(*args)
    assert code == 2
    assert out + err


def test_no_colour_and_no_traceback_from_the_shell(site):
    """The console command prints one plain line, also where a terminal would be given colours."""
    (site / "typo.yaml").write_text("a: [\n")
    run = subprocess.run(
        [sys.executable, "-m", "gateway.policyctl", "validate", str(site / "typo.yaml")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "\x1b" not in run.stderr
    assert "Traceback" not in run.stderr
