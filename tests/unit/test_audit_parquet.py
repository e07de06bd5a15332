"""Exports as Parquet, read back with pyarrow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives import serialization as s
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from audit.cli import app
from audit.errors import FormatError, LedgerError
from audit.formats.parquet import SCHEMA, write_parquet
from audit.formats.view import View
from audit.record import Entry, Header
from audit.seal import Opened
from tests.auditkit import intent, make_home, outcome


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A home of four records, one of them about a subject."""
    folder = tmp_path_factory.mktemp("parquet")
    home = make_home(folder / "home")
    with home.ledger() as ledger:
        for entry in (Entry("boot"), intent(0), outcome(0), intent(1, subject="mrn-17")):
            ledger.submit(entry).result()
    pem = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "auditor.pem").write_bytes(pem)
    return folder


def exported(place, out, *options):
    copy = shutil.copy(place / "home" / "ledger.db", place)  # nothing goes on record for it
    words = ["export", copy, "--format", "parquet", "--out", out, *options]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return pq.read_table(out)


def test_readable_parts_come_back_typed_and_sealed_ones_are_null(place, tmp_path):
    """Without a key each header is a row of the schema, and no sealed column says anything."""
    table = exported(place, tmp_path / "x.parquet")
    assert table.schema.equals(SCHEMA, check_metadata=True)
    rows = table.to_pylist()
    assert [row["event"] for row in rows] == ["boot", "intent", "outcome", "intent"]
    assert [row["status"] for row in rows] == [None, None, 200, None]
    assert rows[1]["minute"] == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    assert json.loads(rows[1]["features"])["entities"] == {"PERSON": "1"}
    sealed = ("at", "principal", "subject", "sealed", "text", "values", "erased_parts")
    assert {row[name] for row in rows for name in sealed} == {None}


def test_opened_parts_stand_in_their_columns(place, tmp_path):
    """With both keys who, about whom and what was said are there."""
    keys = ("--key", place / "auditor.pem", "--keystore", place / "home" / "keystore.db")
    rows = exported(place, tmp_path / "x.parquet", *keys).to_pylist()
    assert [row["principal"] for row in rows] == [None, "ward-7", None, "ward-7"]
    assert [row["subject"] for row in rows] == [None, None, None, "mrn-17"]
    assert "visit 0" in rows[1]["text"]


def view(index, text="a"):
    header = Header("demo.log", "0" * 32, index, "intent", None, "2026-03-01T09:30Z",
                    "2032-03", "1" * 32, {"status": 403})  # fmt: skip
    return View(index, header, Opened("x", {"principal": text}, {"prompt": text}, ()))


def test_rows_go_out_in_groups_by_number_and_by_size(tmp_path):
    """No group holds more than its number of rows, nor grows much beyond its size."""
    assert write_parquet(tmp_path / "many", map(view, range(9000))) == 9000
    found = pq.ParquetFile(tmp_path / "many").metadata
    assert [found.row_group(n).num_rows for n in range(found.num_row_groups)] == [4096, 4096, 808]
    write_parquet(tmp_path / "long", (view(n, "x" * (1 << 20)) for n in range(20)))
    found = pq.ParquetFile(tmp_path / "long").metadata
    assert max(found.row_group(n).num_rows for n in range(found.num_row_groups)) <= 4


@given(text=st.text(st.characters(), max_size=20))
def test_any_text_comes_back(tmp_path_factory, text):
    """Also half a surrogate pair, as its escape."""
    out = tmp_path_factory.mktemp("p") / "x"
    write_parquet(out, [view(0, text)])
    found = pq.read_table(out).to_pylist()[0]
    assert json.loads(found["text"]) == {"prompt": text}
    assert found["principal"] == (text.encode("utf-8", "backslashreplace").decode() or None)


def test_a_broken_record_leaves_nothing(tmp_path):
    """A record that is none, halfway: no file of any name stays."""

    def broken():
        yield view(0)
        raise FormatError("x")

    with pytest.raises(FormatError):
        write_parquet(tmp_path / "x", broken())
    (tmp_path / "y").write_text("theirs")
    with pytest.raises(LedgerError):
        write_parquet(tmp_path / "y", [view(0)])
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


def test_without_pyarrow_one_line_names_it(place, tmp_path):
    """The extra is optional: whoever lacks it is told, and nothing is put on record or written."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from audit.cli import app\n"
        f"app(['export', {str(place / 'home')!r}, '--format', 'parquet', "
        f"'--out', {str(tmp_path / 'x')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make extras" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_schema_is_as_documented():
    """Columns are only ever added at the end."""
    assert SCHEMA.names == [
        "index", "origin", "boot", "seq", "event", "rid", "minute", "expires", "deadline", "role",
        "purpose", "decision", "error", "finish", "status", "features", "at", "principal",
        "subject", "sealed", "text", "values", "erased_parts", "unreadable",
    ]  # fmt: skip
    assert SCHEMA.field("minute").type == pa.timestamp("ms", tz="UTC")
