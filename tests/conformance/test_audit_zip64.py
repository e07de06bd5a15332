"""Bundles in the zip64 form, as above 4 GiB: the page reads them as Python does."""

from __future__ import annotations

import struct
import zipfile

import pytest

from tests.conformance.test_audit_corpus import FOLDER, HELD
from tests.conformance.test_audit_verifiers import judge, standalone


def packed(path, monkeypatch, limit):
    """The intact log in a zip whose writer takes ``limit`` for what 32 bits hold."""
    with zipfile.ZipFile(FOLDER / "intact.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    return path.read_bytes()


@pytest.mark.parametrize("limit", [0, 100, 2000, 1 << 31])
def test_three_verifiers_read_zip64(page, tmp_path, monkeypatch, limit):
    """Sizes, offsets and the directory's own place in 64 bits, some of them or all."""
    data = packed(tmp_path / "b.zip", monkeypatch, limit)
    assert (b"PK\x06\x06" in data) == (limit < 1 << 31)
    monkeypatch.undo()
    words = standalone(str(tmp_path / "b.zip"), (HELD["kept"],))
    assert words[0] == 0
    assert int(judge(tmp_path / "b.zip", (HELD["kept"],)).code) == 0
    assert page.verdict({"b.zip": data}, (HELD["kept"],)) == words


@pytest.mark.parametrize("place", [40, 48])
def test_a_directory_that_lies_elsewhere_is_unreadable(page, tmp_path, monkeypatch, place):
    """A zip64 record that points beyond the file is no intact bundle for any verifier."""
    data = bytearray(packed(tmp_path / "b.zip", monkeypatch, 0))
    monkeypatch.undo()
    at = data.rindex(b"PK\x06\x06") + place
    data[at : at + 8] = struct.pack("<Q", 1 << 40)
    (tmp_path / "b.zip").write_bytes(data)
    assert standalone(str(tmp_path / "b.zip"))[0] == 20
    assert int(judge(tmp_path / "b.zip").code) == 20
    assert page.verdict({"b.zip": bytes(data)})[0] == 20
