"""Policy files that disappear, cannot be read, never end or were torn: an error, never a policy."""

from __future__ import annotations

import os

import pytest

from gateway.errors import PolicyFileError
from gateway.policy.load import load_policy, shipped
from gateway.yamlfile.read import MAX_BYTES


def place(tmp_path, kind):
    path = tmp_path / "policy.yaml"
    if kind == "directory":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "gone")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "huge":
        with path.open("wb") as stream:
            stream.write(b"name: hipaa\n#")
            stream.truncate(1 << 40)
    elif kind == "empty":
        path.touch()
    elif kind == "binary":
        path.write_bytes(bytes(range(256)))
    elif kind == "name too long":
        return tmp_path / ("x" * 5000)
    return path


@pytest.mark.parametrize(
    "kind",
    ["absent", "directory", "dangling link", "loop", "huge", "empty", "binary", "name too long"],
)
def test_what_is_no_policy_file_is_reported_with_its_name(tmp_path, kind):
    """The error names the file; a terabyte of nothing is not read to its end."""
    path = place(tmp_path, kind)
    with pytest.raises(PolicyFileError) as caught:
        load_policy(path)
    assert caught.value.where.startswith(f"{path}:")
    assert caught.value.__cause__ is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads files of any mode")
def test_a_file_without_permission_is_reported(tmp_path):
    """The error says what to check."""
    path = tmp_path / "policy.yaml"
    path.write_bytes(shipped("hipaa").read_bytes())
    path.chmod(0)
    with pytest.raises(PolicyFileError, match="permissions"):
        load_policy(path)


def test_a_file_torn_in_the_middle_of_a_rule_is_refused(tmp_path):
    """Half a rule is a fault, at the rule."""
    whole = shipped("hipaa").read_bytes()
    path = tmp_path / "policy.yaml"
    path.write_bytes(whole[: whole.index(b"    then:", len(whole) // 2)])
    with pytest.raises(PolicyFileError, match="'then' is missing"):
        load_policy(path)


def test_the_largest_file_is_still_read(tmp_path):
    """The limit is generous: a shipped policy padded to it loads."""
    whole = shipped("gdpr").read_bytes()
    path = tmp_path / "policy.yaml"
    path.write_bytes(whole + b"#" * (MAX_BYTES - len(whole)))
    assert load_policy(path).name == "gdpr"
