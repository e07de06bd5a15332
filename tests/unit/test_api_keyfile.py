"""The store of API keys: shown once, stored hashed, fail closed, in force at the next request."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from gateway.api.keyfile import (
    Grant,
    KeyFile,
    KeyRefusedError,
    Refusal,
    issue_key,
    list_keys,
    revoke_key,
    rotate_key,
)
from gateway.domain import Purpose, Role
from gateway.errors import KeysUnavailableError, NotFoundError, RequestError

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def grant(**changes: object) -> Grant:
    values = {
        "principal": "dr-quill",
        "role": Role.CLINICIAN,
        "purposes": frozenset({Purpose.TREATMENT, Purpose.OPERATIONS}),
        "default_purpose": Purpose.TREATMENT,
        "expires": NOW + DAY,
        "matters": frozenset({"matter-7"}),
    }
    return Grant(**{**values, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "api-keys.json"


@pytest.fixture
def keys(path):
    return KeyFile(path, lambda: NOW)


def test_an_issued_key_names_its_holder(path, keys):
    """The principal of a key has exactly what the grant says."""
    issued = issue_key(path, grant(), NOW)
    principal = keys.authenticate(issued.secret)
    assert principal.id == "dr-quill"
    assert principal.role is Role.CLINICIAN
    assert principal.purposes == {Purpose.TREATMENT, Purpose.OPERATIONS}
    assert principal.default_purpose is Purpose.TREATMENT
    assert principal.matters == {"matter-7"}
    assert principal.key_id == issued.record.id


def test_the_file_holds_the_hash_and_never_the_key(path):
    """What is stored is the SHA-256 of the key, in a file of mode 0600."""
    issued = issue_key(path, grant(), NOW)
    raw = path.read_text()
    assert issued.secret.removeprefix("clk_") not in raw
    assert hashlib.sha256(issued.secret.encode()).hexdigest() in raw
    assert path.stat().st_mode & 0o777 == 0o600
    assert issued.secret not in repr(issued)


def test_a_key_has_256_random_bits(path):
    """Two keys differ and each carries 43 characters of base64, which are 256 bits."""
    one, two = (issue_key(path, grant(), NOW).secret for _ in range(2))
    assert one != two
    assert all(secret.startswith("clk_") and len(secret) == 4 + 43 for secret in (one, two))


def test_a_revoked_key_is_refused_at_the_next_request(path, keys):
    """Revocation needs no restart."""
    issued = issue_key(path, grant(), NOW)
    keys.authenticate(issued.secret)
    revoke_key(path, issued.record.id, NOW)
    with pytest.raises(KeyRefusedError) as refused:
        keys.authenticate(issued.secret)
    assert refused.value.reason is Refusal.REVOKED


def test_the_first_revocation_stays_on_record(path):
    """Revoking twice keeps the time of the first."""
    issued = issue_key(path, grant(), NOW)
    revoke_key(path, issued.record.id, NOW)
    assert revoke_key(path, issued.record.id, NOW + DAY).revoked == NOW


def test_an_expired_key_is_refused(path):
    """The moment of expiry is the first at which a key is refused."""
    issued = issue_key(path, grant(), NOW)
    moments = iter([NOW + DAY - timedelta(seconds=1), NOW + DAY])
    keys = KeyFile(path, lambda: next(moments))
    keys.authenticate(issued.secret)
    with pytest.raises(KeyRefusedError) as refused:
        keys.authenticate(issued.secret)
    assert refused.value.reason is Refusal.EXPIRED


@pytest.mark.parametrize("secret", ["", "clk_", "clk_" + "A" * 43, "\ud800", "clk_\x00", "é" * 99])
def test_an_unknown_key_is_refused(path, keys, secret):
    """Whatever is not the key is unknown, strings that no encoding accepts included."""
    issue_key(path, grant(), NOW)
    with pytest.raises(KeyRefusedError) as refused:
        keys.authenticate(secret)
    assert refused.value.reason is Refusal.UNKNOWN


def test_rotation_keeps_the_grant_and_ends_the_old_key_after_the_grace(path):
    """Both keys work during the grace, only the new one after it, with the same grant."""
    old = issue_key(path, grant(expires=NOW + 30 * DAY), NOW)
    new = rotate_key(path, old.record.id, NOW, DAY)
    during = KeyFile(path, lambda: NOW)
    assert during.authenticate(old.secret).id == during.authenticate(new.secret).id
    after = KeyFile(path, lambda: NOW + DAY)
    assert after.authenticate(new.secret).matters == {"matter-7"}
    with pytest.raises(KeyRefusedError):
        after.authenticate(old.secret)


def test_rotation_never_prolongs_the_old_key(path):
    """A grace beyond the expiry leaves the expiry."""
    old = issue_key(path, grant(), NOW)
    rotate_key(path, old.record.id, NOW, 90 * DAY)
    assert list_keys(path)[0].expires == NOW + DAY


def test_a_revoked_key_cannot_be_rotated(path):
    """Rotation is no way back in."""
    old = issue_key(path, grant(), NOW)
    revoke_key(path, old.record.id, NOW)
    with pytest.raises(RequestError):
        rotate_key(path, old.record.id, NOW, DAY)


def test_a_negative_grace_is_refused(path):
    """A grace runs from now on."""
    old = issue_key(path, grant(), NOW)
    with pytest.raises(RequestError):
        rotate_key(path, old.record.id, NOW, -DAY)


@pytest.mark.parametrize(
    "command",
    [
        lambda path: revoke_key(path, "key-none", NOW),
        lambda path: rotate_key(path, "key-none", NOW, DAY),
    ],
)
def test_an_unknown_id_changes_nothing(path, command):
    """Revoking or rotating what does not exist is an error, and the file stays as it was."""
    issue_key(path, grant(), NOW)
    before = path.read_bytes()
    with pytest.raises(NotFoundError):
        command(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"purposes": frozenset()},
        {"default_purpose": Purpose.MARKETING},
        {"expires": NOW},
        {"principal": ""},
        {"principal": "two words"},
        {"principal": "x" * 129},
        {"matters": frozenset({"line\nbreak"})},
        {"role": "surgeon"},
    ],
)
def test_a_grant_that_no_key_can_have_is_refused(path, changes):
    """No purposes, a default outside them, a past expiry, no principal: no key, and no file."""
    with pytest.raises(RequestError):
        issue_key(path, grant(**changes), NOW)
    assert not path.exists()


def _valid(path):
    issue_key(path, grant(), NOW)
    return json.loads(path.read_text())


CORRUPTIONS = {
    "empty": lambda store: "",
    "not JSON": lambda store: "{",
    "no keys": lambda store: json.dumps({"version": 1}),
    "another version": lambda store: json.dumps({**store, "version": 2}),
    "an unknown field": lambda store: json.dumps({**store, "allow_all": True}),
    "a key twice": lambda store: json.dumps({**store, "keys": store["keys"] * 2}),
    "no purposes": lambda store: json.dumps(
        {**store, "keys": [{**store["keys"][0], "purposes": []}]}
    ),
    "a default outside": lambda store: json.dumps(
        {**store, "keys": [{**store["keys"][0], "default_purpose": "marketing"}]}
    ),
    "an unknown role": lambda store: json.dumps(
        {**store, "keys": [{**store["keys"][0], "role": "root"}]}
    ),
    "no expiry": lambda store: json.dumps(
        {**store, "keys": [{k: v for k, v in store["keys"][0].items() if k != "expires"}]}
    ),
    "a naive expiry": lambda store: json.dumps(
        {**store, "keys": [{**store["keys"][0], "expires": "2099-01-01T00:00:00"}]}
    ),
    "bytes": lambda store: "\udcff",
    "deep": lambda store: "[" * 100_000,
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_store_that_is_not_intact_lets_nobody_in(path, keys, name):
    """A corrupt store is an error for every key, not a store with fewer keys."""
    issued = issue_key(path, grant(), NOW)
    keys.authenticate(issued.secret)
    store = json.loads(path.read_text())
    path.write_text(CORRUPTIONS[name](store), errors="surrogateescape")
    for _ in range(2):  # also when it was looked at before
        with pytest.raises(KeysUnavailableError):
            keys.authenticate(issued.secret)
    with pytest.raises(KeysUnavailableError):
        keys.check()


def test_a_missing_store_lets_nobody_in(path, keys):
    """Without a store there are no keys, also when there was one a moment ago."""
    with pytest.raises(KeysUnavailableError):
        keys.authenticate("clk_x")
    issued = issue_key(path, grant(), NOW)
    keys.authenticate(issued.secret)
    path.unlink()
    with pytest.raises(KeysUnavailableError):
        keys.authenticate(issued.secret)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_store_that_others_can_read_lets_nobody_in(path, keys, mode):
    """Its mode is part of its integrity."""
    issued = issue_key(path, grant(), NOW)
    path.chmod(mode)
    with pytest.raises(KeysUnavailableError):
        keys.authenticate(issued.secret)


def test_a_link_is_not_a_store(path, keys, tmp_path):
    """A symbolic link in the place of the store is refused."""
    elsewhere = tmp_path / "elsewhere.json"
    issued = issue_key(elsewhere, grant(), NOW)
    path.symlink_to(elsewhere)
    with pytest.raises(KeysUnavailableError):
        keys.authenticate(issued.secret)


def test_a_store_without_keys_knows_nobody(path, keys):
    """An empty list is a valid store, and every key is unknown to it."""
    path.write_text('{"version": 1, "keys": []}')
    path.chmod(0o600)
    with pytest.raises(KeyRefusedError):
        keys.authenticate("clk_x")


def test_issuing_into_a_corrupt_store_does_not_replace_it(path):
    """A damaged store is evidence; it is not overwritten by the next command."""
    path.write_text("{")
    path.chmod(0o600)
    with pytest.raises(KeysUnavailableError):
        issue_key(path, grant(), NOW)
    assert path.read_text() == "{"


def test_a_failed_write_keeps_the_old_store_and_leaves_nothing_behind(path, monkeypatch):
    """The disk is full while a key is revoked: the old store stands, whole."""
    issued = issue_key(path, grant(), NOW)
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeysUnavailableError):
        revoke_key(path, issued.record.id, NOW)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


def test_keys_issued_at_the_same_time_are_all_kept(path):
    """The lock makes read, change and replace one step."""
    threads = [
        threading.Thread(target=issue_key, args=(path, grant(principal=f"p{i}"), NOW))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {record.principal for record in list_keys(path)} == {f"p{i}" for i in range(8)}


def test_whoever_keeps_something_for_a_key_is_told_when_it_loses_something(path):
    """Revoked, or cut short by a rotation: told once, before the next request goes on.

    A key that was issued, and a store that is read for the first time, tell nothing.
    """
    told: list[int] = []
    keys = KeyFile(path, lambda: NOW, revoked=lambda: told.append(1))
    first, second = issue_key(path, grant(), NOW), issue_key(path, grant(), NOW)
    keys.authenticate(first.secret)
    issue_key(path, grant(), NOW)
    keys.check()
    assert len(told) == 0
    revoke_key(path, first.record.id, NOW)
    keys.authenticate(second.secret)
    keys.authenticate(second.secret)
    assert len(told) == 1
    rotate_key(path, second.record.id, NOW, timedelta(hours=1))
    keys.check()
    assert len(told) == 2
