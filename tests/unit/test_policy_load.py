"""What a policy file may say, and where and how a fault in it is reported."""

from __future__ import annotations

import hashlib

import pytest

from gateway.domain import Operator, Purpose, Role
from gateway.errors import PolicyFileError
from gateway.policy.load import SHIPPED, load_policy, parse_policy, shipped
from gateway.policy.model import Action, Kind
from gateway.yamlfile.read import MAX_BYTES, MAX_DEPTH

HEAD = """\
name: sample
version: 1.2.3
kind: base
regulation: A regulation, 12 X 34
jurisdiction: XX
effective: 2025-01-01
owner: somebody
vocabulary: cloister/1
silence:
  clause: X 1
  why: Because.
"""
RULES = """\
rules:
  - id: first
    clause: X 2
    why: It says so.
    when:
      role: [clinician]
      purpose: [treatment]
    then:
      permit: true
"""


def load(text: str):
    return parse_policy(text.encode(), file="p.yaml")


def with_rule(body: str) -> str:
    """A policy with one more rule, whose ``when`` and ``then`` begin at line 24."""
    return f"{HEAD}{RULES}  - id: second\n    clause: X 3\n    why: So.\n{body}"


def test_a_policy_is_read_as_it_is_written():
    """Every field of a file ends up in the policy, with the line of each rule."""
    text = with_rule(
        "    when:\n      role: [lawyer]\n      entity: [numbers, PERSON]\n"
        "    then:\n      operator: redact\n      restore: false\n"
    ).replace("silence:", "expires: 2030-12-31\ngroups:\n  numbers: [US_SSN, IBAN_CODE]\nsilence:")
    policy = load(text)
    assert (policy.name, policy.version, policy.kind) == ("sample", "1.2.3", Kind.BASE)
    assert (policy.effective.isoformat(), policy.expires.isoformat()) == (
        "2025-01-01",
        "2030-12-31",
    )
    assert policy.silence.clause == "X 1"
    assert policy.digest == hashlib.sha256(text.encode()).hexdigest()
    first, second = policy.rules
    assert (first.id, first.clause, first.why, first.line) == ("first", "X 2", "It says so.", 16)
    assert first.when.roles == {Role.CLINICIAN}
    assert first.when.purposes == {Purpose.TREATMENT}
    assert first.then.permit
    assert second.when.entities == {"US_SSN", "IBAN_CODE", "PERSON"}
    assert second.then.operator is Operator.REDACT
    assert second.then.restore is False
    assert policy.entity_types == {"US_SSN", "IBAN_CODE", "PERSON"}


def test_effects_on_the_request_are_read():
    """Stages, model constraints, tools and obligations come out as the language names them."""
    policy = load(
        with_rule(
            "    when:\n      role: [lawyer]\n    then:\n      restore_tools: [file_motion]\n"
            "      require:\n        - stage: citations\n          action: withhold\n"
            "      models:\n        tags: [legal]\n        zones: [local, annex]\n"
            "      obligations: [audit-record]\n"
        )
    )
    then = policy.rules[1].then
    assert then.restore_tools == {"file_motion"}
    assert then.stages == (("citations", Action.WITHHOLD),)
    assert (then.tags, then.zones) == ({"legal"}, {"local", "annex"})
    assert then.obligations == {"audit-record"}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policies_load(name):
    """The shipped files load, under the name that the settings use, wherever they are installed."""
    policy = load_policy(shipped(name))
    assert (policy.name, policy.file) == (name, f"policies/{name}.yaml")
    assert policy.digest == hashlib.sha256(shipped(name).read_bytes()).hexdigest()


def with_when(body: str) -> str:
    """A policy with one more rule, whose condition begins at line 24."""
    return with_rule(f"    when:{body}    then:\n      deny: true\n")


WHEN_ENTITY = "    when:\n      entity: [PERSON]\n"

FAULTS = {
    # id: (text, line:col, words of the message)
    "empty": ("", "1:1", "empty"),
    "only a comment": ("# nothing\n", "1:1", "empty"),
    "a list": ("- a\n", "1:1", "a mapping"),
    "a scalar": ("policy\n", "1:1", "a mapping"),
    "unknown key": (HEAD.replace("owner:", "ownr:") + RULES, "7:1", "did you mean 'owner'"),
    "missing key": (HEAD + "", "1:1", "'rules' is missing"),
    "duplicate key": (HEAD + "name: again\n" + RULES, "12:1", "twice"),
    "no rules": (HEAD + "rules: []\n", "12:8", "empty list"),
    "rules are no list": (HEAD + "rules: {a: b}\n", "12:8", "a list"),
    "tab": (HEAD + "rules:\n\t- id: x\n", "13:1", "a tab"),
    "tab in text": (HEAD.replace("somebody", "some\tbody") + RULES, "7:12", "a tab"),
    "NUL": (HEAD.replace("somebody", "some\0body") + RULES, "7:12", "cannot be seen"),
    "zero-width": (HEAD.replace("somebody", "some\u200bbody") + RULES, "7:12", "cannot be seen"),
    "right-to-left": (HEAD.replace("somebody", "\u202exx") + RULES, "7:8", "cannot be seen"),
    "open bracket": (HEAD + "rules: [a\n", "13:1", "not YAML"),
    "bad indent": (HEAD + "rules:\n  - id: a\n clause: b\n", "14:2", "not YAML"),
    "open quote": (HEAD + 'rules: "a\n', "13:1", "not YAML"),
    "anchor": (HEAD.replace("somebody", "&a x") + RULES, "7:8", "an anchor"),
    "recursive anchor": (HEAD + "rules: &a [*a]\n", "12:8", "an anchor"),
    "alias": (HEAD.replace("somebody", "*a") + RULES, "7:8", "an alias"),
    "merge": (HEAD + "<<: {a: b}\n" + RULES, "12:1", "merge key"),
    "tag": (HEAD.replace("somebody", "!!python/name:os.system x") + RULES, "7:8", "a tag"),
    "directive": ("%YAML 1.1\n---\n" + HEAD + RULES, "2:1", "directive"),
    "two documents": (HEAD + RULES + "---\n" + HEAD, "21:1", "second document"),
    "yes": (with_rule("    then:\n      deny: yes\n"), "25:13", "YAML 1.1"),
    "Off": (with_rule("    then:\n      deny: Off\n"), "25:13", "YAML 1.1"),
    "on as key": (HEAD + "on: 1\n" + RULES, "12:1", "YAML 1.1"),
    "n in a list": (with_when("\n      role: [n]\n"), "25:14", "YAML 1.1"),
    "True": (with_rule("    then:\n      deny: True\n"), "25:13", "true or false"),
    "quoted boolean": (with_rule("    then:\n      deny: 'true'\n"), "25:13", "without quotes"),
    "permit false": (with_rule("    then:\n      deny: false\n"), "25:13", "only be true"),
    "no value": (HEAD.replace(" somebody", "") + RULES, "7:1", "no value"),
    "no element": (with_when("\n      role:\n        -\n"), "26:10", "a value is missing"),
    "list for text": (HEAD.replace("somebody", "[a]") + RULES, "7:8", "text is expected"),
    "vocabulary": (HEAD.replace("cloister/1", "cloister/2") + RULES, "8:13", "cloister/1"),
    "kind": (HEAD.replace("kind: base", "kind: basis") + RULES, "3:7", "'base'"),
    "version": (HEAD.replace("1.2.3", "1.2") + RULES, "2:10", "no version"),
    "name": (HEAD.replace("sample", "../../etc") + RULES, "1:7", "no name"),
    "date": (HEAD.replace("2025-01-01", "2025-02-30") + RULES, "6:12", "YYYY-MM-DD"),
    "week date": (HEAD.replace("2025-01-01", "2025-W01-1") + RULES, "6:12", "YYYY-MM-DD"),
    "expired at once": (HEAD + "expires: 2025-01-01\n" + RULES, "12:10", "before it takes effect"),
    "no silence": (HEAD[: HEAD.index("silence")] + RULES, "1:1", "'silence'"),
    "silence of an overlay": (HEAD.replace("base", "overlay") + RULES, "10:3", "adds nothing"),
    "clause without number": (HEAD.replace("X 1", "the law") + RULES, "10:11", "no clause"),
    "no clause": (HEAD + RULES.replace("    clause: X 2\n", ""), "13:5", "'clause' is missing"),
    "rule id twice": (
        with_rule("    then:\n      deny: true\n").replace("second", "first"),
        "21:9",
        "twice",
    ),
    "rule id silence": (HEAD + RULES.replace("first", "silence"), "13:9", "twice"),
    "role": (with_when("\n      role: [clinican]\n"), "25:14", "'clinician'"),
    "purpose": (with_when("\n      purpose: [cure]\n"), "25:17", "unknown purpose 'cure'"),
    "role not a list": (with_when("\n      role: lawyer\n"), "25:13", "write [a, b]"),
    "role twice": (with_when("\n      role: [lawyer, lawyer]\n"), "25:22", "twice"),
    "no role": (with_when("\n      role: []\n"), "25:13", "empty list"),
    "empty when": (with_when(" {}\n"), "24:11", "empty condition"),
    "group": (with_when("\n      entity: [nobody]\n"), "25:16", "unknown group"),
    "entity": (with_when("\n      entity: [Person]\n"), "25:16", "unknown group"),
    "empty then": (with_rule("    then: {}\n"), "24:11", "without an effect"),
    "effect": (with_rule("    then:\n      mask: true\n"), "25:7", "unknown key 'mask'"),
    "operator": (with_rule(WHEN_ENTITY + "    then:\n      operator: mask\n"), "27:17", "operator"),
    "operator for nothing": (
        with_rule("    then:\n      operator: redact\n"),
        "25:7",
        "name 'entity'",
    ),
    "permit everybody": (with_rule("    then:\n      permit: true\n"), "25:7", "for everybody"),
    "permit and deny": (
        with_rule(
            "    when:\n      role: [lawyer]\n    then:\n      permit: true\n      deny: true\n"
        ),
        "27:7",
        "two rules",
    ),
    "restore for everybody": (
        with_rule(WHEN_ENTITY + "    then:\n      restore: true\n"),
        "27:7",
        "name 'role'",
    ),
    "deny one entity": (with_rule(WHEN_ENTITY + "    then:\n      deny: true\n"), "27:7", "whole"),
    "stage": (
        with_rule("    then:\n      require: [{stage: injektion, action: refuse}]\n"),
        "25:25",
        "'injection'",
    ),
    "action": (
        with_rule("    then:\n      require: [{stage: injection, action: withhold}]\n"),
        "25:44",
        "annotate or refuse",
    ),
    "regenerate": (
        with_rule("    then:\n      require: [{stage: medical, action: regenerate}]\n"),
        "25:42",
        "not supported yet",
    ),
    "empty models": (with_rule("    then:\n      models: {}\n"), "25:15", "tags or zones"),
    "list as key": (HEAD + "[a, b]: c\n" + RULES, "12:1", "as a key"),
}


@pytest.mark.parametrize(("text", "place", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_reported_at_its_place_with_the_fix(text, place, words):
    """Whatever is wrong, the error names file, line and column, the fault, and what to do."""
    with pytest.raises(PolicyFileError) as caught:
        load(text)
    assert caught.value.where == f"p.yaml:{place}"
    assert words in caught.value.message


def test_prose_of_the_file_is_not_repeated():
    """A message may name a key, never what somebody wrote into the file by mistake."""
    planted = "Jane Roe, 078-05-1120"
    for text in (HEAD.replace("sample", planted), HEAD.replace("owner", f'"{planted}"')):
        with pytest.raises(PolicyFileError) as caught:
            load(text + RULES)
        assert "Jane" not in caught.value.message
        assert "078" not in caught.value.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"a: \xc3\x28", "UTF-8"),
        (b"a: " + b"x" * MAX_BYTES, "larger than"),
        (b"[" * 5000, f"deeper than {MAX_DEPTH}"),
        (b"{a: " * 5000, f"deeper than {MAX_DEPTH}"),
        (b"- " * 5000, f"deeper than {MAX_DEPTH}"),
    ],
)
def test_files_that_no_editor_wrote_are_refused(data, words):
    """Other encodings, huge files and deep nesting end in the error, not in a crash."""
    with pytest.raises(PolicyFileError, match=words):
        parse_policy(data, file="p.yaml")
