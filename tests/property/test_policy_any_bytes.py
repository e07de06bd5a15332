"""Any bytes are a policy or a ``PolicyFileError``; nothing else ever comes out of the loader."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import PolicyFileError
from gateway.policy.load import parse_policy, shipped
from gateway.policy.model import Policy

SHIPPED = shipped("gdpr").read_bytes()
HEAD = SHIPPED[: SHIPPED.index(b"rules:")]

yaml_like = st.text(
    alphabet="abcnyo:-#&*!|>%@`'\"{}[],? \n\t\\<=~.0189\u00e9\u2028\ufeff\U0001f600", max_size=60
)


def check(data: bytes) -> None:
    try:
        policy = parse_policy(data, file="f")
    except PolicyFileError as error:
        name, line, column = error.where.split(":")
        assert name == "f"
        assert int(line) >= 1
        assert int(column) >= 1
    else:
        assert isinstance(policy, Policy)
        assert policy.rules


@given(st.binary(max_size=200))
@example(b"\x85")
@example(b"\xef\xbb\xbfname: a")
def test_any_bytes(data):
    """Bytes that nobody meant as a policy end in an error with a place."""
    check(data)


@given(yaml_like)
@settings(max_examples=200)
def test_any_yaml_like_text(text):
    """Text made of YAML's own signs ends in an error with a place."""
    check(text.encode("utf-8", "surrogatepass"))


@given(yaml_like, st.integers(0, len(HEAD)), st.integers(0, 30))
@settings(max_examples=60)
def test_a_shipped_policy_with_a_slip(text, at, cut):
    """A few characters put into, or lost from, a policy leave a policy or an error with a place."""
    check(HEAD[:at] + text.encode() + HEAD[at + cut :] + b"rules: [{id: a, clause: x1, why: b}]\n")


@given(st.integers(0, len(SHIPPED)))
@settings(max_examples=15)
def test_a_truncated_policy(length):
    """Half a file is never mistaken for something that crashes."""
    check(SHIPPED[:length])
