"""A writer of files whose bytes are taken while it writes."""

from __future__ import annotations

import io
import threading
import time
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import MissingError
from audit.piping import pulled


@given(parts=st.lists(st.binary(max_size=200_000), max_size=8))
def test_what_is_written_arrives(parts):
    """All of it, in order, whatever is written at once."""

    def write(file):
        for part in parts:
            assert file.write(part) == len(part)
        assert file.tell() == sum(map(len, parts))

    assert b"".join(pulled(write)) == b"".join(parts)


def test_a_zip_file_can_be_written(tmp_path):
    """It cannot be rewound, and zipfile does without."""

    def write(file):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("one", b"1" * 300_000)
            archive.writestr("two", b"2")

    with zipfile.ZipFile(io.BytesIO(b"".join(pulled(write)))) as archive:
        assert archive.testzip() is None
        assert [len(archive.read(name)) for name in ("one", "two")] == [300_000, 1]


def test_what_the_writer_raises_is_raised_after_what_it_wrote():
    """A part is never taken for all of it."""

    def write(file):
        file.write(b"x" * 100_000)
        raise MissingError("the ledger lacks records")

    pieces = pulled(write)
    assert len(next(pieces)) == 100_000
    with pytest.raises(MissingError):
        list(pieces)


def test_a_writer_waits_while_nobody_takes_and_ends_when_nobody_will():
    """It makes a few pieces ahead and no more; closed, its thread is gone."""
    written = 0

    def write(file):
        nonlocal written
        while True:
            file.write(b"x" * 100_000)
            written += 1

    before = threading.active_count()
    pieces = pulled(write)
    next(pieces)
    time.sleep(0.2)
    ahead = written
    time.sleep(0.2)
    assert written == ahead < 10
    pieces.close()
    assert threading.active_count() == before


def test_who_waits_for_a_slow_writer_is_told_so():
    """An empty piece, so that it can look whether anybody is still there."""
    go_on = threading.Event()

    def write(file):
        go_on.wait(10)
        file.write(b"at last")

    pieces = pulled(write)
    assert next(pieces) == b""
    go_on.set()
    assert b"".join(pieces) == b"at last"
