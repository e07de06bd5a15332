"""`gateway mask PATH...`: a tree in, the same tree masked out, and nothing raw anywhere."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import Finding, Purpose, Role
from gateway.errors import RequestError
from gateway.masking import Run
from gateway.masking.columns import type_of
from gateway.masking.files import Options, mask_files, mask_stream, opened, write_names
from gateway.masking.formats import READERS
from gateway.masking.place import target
from gateway.masking.pool import in_order
from gateway.pii.categories import Categorizer
from gateway.pii.mask import Memory, splice
from gateway.policy.decide import PolicySet
from gateway.policy.load import load_policy, shipped
from gateway.protect import Protector
from tests.fakes import NOW
from tests.wordlist import detect

NAME = "Zara Quillfeather"
WORDS = {NAME: "PERSON", "Quillfeather": "PERSON", "84720193": "MEDICAL_RECORD"}


class Words:
    """A detector that knows a few words."""

    digest = "ab" * 32

    def detect(self, texts, language=None, changed=None):
        return [tuple[Finding, ...](detect(WORDS, text)) for text in texts]


@pytest.fixture(scope="module")
def run():
    policies = PolicySet([load_policy(shipped("gdpr"))], [])
    guard = Protector(Words(), splice, lambda: NOW, Categorizer())
    return Run(guard, policies, Role.RESEARCHER, Purpose.RESEARCH)


def masked(run, kind, text):
    blocks = READERS[kind](io.StringIO(text, newline=""))
    memory = Memory()
    return "".join(run.mask(block, memory) for block in blocks)


def outcomes(run, paths, out, **options):
    return [outcome for _, outcome in mask_files(run, paths, out, Options(**options))]


# --- formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("text", f"of {NAME}\r\n", "of <PERSON_1>\r\n"),
        ("json", f' {{"a": "{NAME}", "n": 84720193}}', ' {"a": "<PERSON_1>", "n": "[REDACTED]"}'),
        ("json", f'"{NAME}"', '"<PERSON_1>"'),
        ("json", "17", "17"),
        ("jsonl", f'["{NAME}"]\n\n{{"{NAME}": 1}}', '["<PERSON_1>"]\n\n{"<PERSON_1>": 1}'),
        ("csv", f'a;b\r\n"x ""{NAME}""";2\r\n', 'a;b\r\n"x ""<PERSON_1>""";2\r\n'),
        ("csv", f"a\tb\n{NAME}\t\n\n", "a\tb\n<PERSON_1>\t\n\n"),
        ("html", f"<b>{NAME}</b> &amp;", "<b>&lt;PERSON_1&gt;</b> &amp;"),
        ("xml", f'<a b="{NAME}">x</a>', '<a b="&lt;PERSON_1&gt;">x</a>'),
        ("xml", f"<a><!--{NAME}--></a>", "<a><!--<PERSON_1>--></a>"),
        ("xml", f"<a><![CDATA[{NAME}]]></a>", "<a><![CDATA[<PERSON_1>]]></a>"),
        ("xml", "<p><family>Bo</family></p>", "<p><family>&lt;PERSON_1&gt;</family></p>"),
        ("csv", "last_name,age\nBo,7\n", "last_name,age\n<PERSON_1>,7\n"),
        ("eml", f"From: {NAME} <a@b>\n\nHi", "From: <PERSON_1> <a@b>\n\nHi"),
        ("text", "", ""),
        ("json", "[]", "[]"),
        ("csv", "", ""),
    ],
)  # fmt: skip
def test_each_format_keeps_all_but_what_is_masked(run, kind, text, expected):
    """Spacing, quoting, order and line ends stay; what is written in is escaped as it must be."""
    got = masked(run, kind, text)
    expected = (
        expected.replace("[REDACTED]", got[got.find("[RED") :][:10]) if "RED" in got else expected
    )
    assert got == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json", '{"a": '),
        ("json", "1], [2"),
        ("json", "[" * 9999 + "]" * 9999),
        ("jsonl", '{"a": 1}\nnot json\n'),
        ("csv", 'a,b\n"open,2\n'),
        ("csv", 'a,b\n"x"y,2\n'),
        ("xml", "<a>"),
        ("xml", '<!DOCTYPE a [<!ENTITY b "Zara">]><a>&b;</a>'),
        ("xml", "<a/><?php Zara ?>"),
        ("eml", "Content-Transfer-Encoding: base64\n\nWmFyYQ=="),
        ("eml", "From: =?utf-8?q?Zara?=\n\n"),
    ],
)
def test_what_is_not_of_its_format_is_refused(run, kind, text):
    """A reader that does not understand a file could not mask it; the message shows nothing."""
    with pytest.raises(RequestError) as caught:
        masked(run, kind, text)
    assert "Zara" not in caught.value.message


CELLS = st.one_of(
    st.sampled_from([NAME, f"of {NAME}, x", "84720193", 'a"b', "a\nb", "", " "]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
)


@settings(max_examples=30)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5))
def test_a_table_stays_a_table_and_nothing_found_stays(rows):
    """Any table: as many rows and cells as before, and no value that detection knows."""
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    text = masked(_run(), "csv", written.getvalue())
    again = list(csv.reader(io.StringIO(text, newline="")))
    assert [len(row) for row in again] == [len(row) for row in rows]
    assert not any(word in text for word in WORDS)


VALUES = st.recursive(
    st.one_of(CELLS, st.none(), st.booleans(), st.integers(), st.just(84720193)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=8,
)


def shape(value):
    if isinstance(value, list):
        return [shape(each) for each in value]
    return [shape(each) for each in value.values()] if isinstance(value, dict) else 0


@settings(max_examples=30)
@given(VALUES, st.booleans())
def test_json_stays_json_and_nothing_found_stays(value, ascii_only):
    """Any value: the same shape, and no value that detection knows, in a document or a line."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    for kind in ("json", "jsonl"):
        out = masked(_run(), kind, text)
        assert shape(json.loads(out)) == shape(value)
        assert not any(word in out for word in WORDS)


@cache
def _run():
    policies = PolicySet([load_policy(shipped("gdpr"))], [])
    guard = Protector(Words(), splice, lambda: NOW, Categorizer())
    return Run(guard, policies, Role.CLINICIAN, Purpose.TREATMENT)


@given(st.text(max_size=60), st.sampled_from(sorted(READERS)))
@settings(max_examples=40)
def test_any_text_is_masked_or_refused(text, kind):
    """Nothing but our error comes out of any reader."""
    try:
        masked(_run(), kind, text)
    except RequestError:
        return


def test_xml_stays_well_formed(run):
    """What is written into texts and attributes is escaped there."""
    text = f"<r><n v='{NAME}'>{NAME} &amp; co</n></r>"
    root = ET.fromstring(masked(run, "xml", text))  # noqa: S314 - our own output
    assert root.find("n").text == "<PERSON_1> & co"


def test_a_long_text_keeps_its_numbers_over_its_parts(run):
    """A value has one number, and what an early part taught is masked in a later one."""
    filler = "Nothing here.\n\n" * 8000
    text = masked(run, "text", f"{NAME}\n{filler}Ms Quillfeather and {NAME}\n")
    assert text.startswith("<PERSON_1>\n")
    assert text.endswith(" and <PERSON_1>\n")


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        ("First Name", "Bo", "PERSON"),
        ("Prénom", "Bo", "PERSON"),
        ("lastName", "unknown", None),
        ("birthDate", "1961", None),
        ("birthDate", "1961-05-03", "DATE_TIME"),
        ("zip", "8001", "ZIP_CODE"),
        ("product name", "Bo", None),
        (None, "Bo", None),
    ],
)
def test_columns_that_name_what_they_hold(label, value, expected):
    """The name of a column decides where it is plain, and nowhere else."""
    assert type_of(label, value) == expected


# --- files -----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "notes"
    (folder / "Zara_Quillfeather").mkdir(parents=True)
    (folder / "a.txt").write_text(f"of {NAME}")
    (folder / "Quillfeather.md").write_text("plain")
    (folder / "Zara_Quillfeather" / "b.json").write_text(f'{{"x": "{NAME}"}}')
    (folder / "bad.json").write_text("{")
    (folder / "image.png").write_bytes(b"\x89PNG\0")
    (folder / "zero.txt").write_bytes(b"a\0b")
    (folder / "latin.txt").write_bytes(b"M\xfcller")
    (folder / "link.txt").symlink_to("a.txt")
    os.mkfifo(folder / "pipe.txt")
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tree_comes_out_as_a_tree(run, tree, tmp_path, workers):
    """Good files are masked under names that tell nothing, 0600 in 0700; the rest is named."""
    out = tmp_path / "out"
    done = outcomes(run, [tree], out, workers=workers)
    placed = {str(o.placed.relative_to(out)): o.placed for o in done if o.placed}
    assert set(placed) == {"notes/a.txt", "notes/file-1.md", "notes/folder-2/b.json"}
    assert placed["notes/a.txt"].read_text() == "of <PERSON_1>"
    assert {stat.S_IMODE(p.stat().st_mode) for p in placed.values()} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in out.rglob("*") if p.is_dir()} == {0o700}
    assert {o.source.name for o in done if o.code} == {
        "bad.json", "image.png", "zero.txt", "latin.txt", "link.txt", "pipe.txt",
    }  # fmt: skip
    assert sorted(p for p in out.rglob("*") if p.is_file()) == sorted(placed.values())
    assert (run.tally.done["masked"], run.tally.done["error"]) == (3, 6)
    run.take_tally()


def test_a_file_that_is_there_is_kept_unless_forced(run, tmp_path):
    """Neither another file nor the source itself is overwritten."""
    source = tmp_path / "a.txt"
    source.write_text(NAME)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("mine")
    (refused,) = outcomes(run, [source], out)
    assert refused.code
    assert (out / "a.txt").read_text() == "mine"
    (forced,) = outcomes(run, [source], out, force=True)
    assert forced.placed.read_text() == "<PERSON_1>"
    (itself,) = outcomes(run, [source], tmp_path, force=True)
    assert itself.code
    assert source.read_text() == NAME
    assert [p.name for p in out.iterdir()] == ["a.txt"]


def test_files_of_one_run_share_numbers_only_together(run, tmp_path):
    """Each file has its own numbering, or all have one."""
    for name, text in (("1.txt", f"{NAME} 84720193"), ("2.txt", "Bo and Quillfeather")):
        (tmp_path / name).write_text(text)
    paths = [tmp_path / "1.txt", tmp_path / "2.txt"]
    outcomes(run, paths, tmp_path / "each")
    outcomes(run, paths, tmp_path / "all", together=True)
    assert (tmp_path / "each" / "2.txt").read_text() == "Bo and <PERSON_1>"
    assert (tmp_path / "all" / "2.txt").read_text() == "Bo and <PERSON_1_2>"


def test_two_sources_for_one_place_lose_neither(run, tmp_path):
    """The second of two files that would have one name is refused, also under --force."""
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
    paths = [tmp_path / "x" / "a.txt", tmp_path / "y" / "a.txt"]
    first, second = outcomes(run, paths, tmp_path / "out", force=True)
    assert first.placed.read_text() == "x"
    assert second.code


def test_the_list_of_names_is_for_the_owner_alone(run, tmp_path):
    """Mode 0600, and never over another file."""
    (tmp_path / "Quillfeather.txt").write_text("x")
    done = outcomes(run, [tmp_path / "Quillfeather.txt"], tmp_path / "out")
    names = tmp_path / "names.json"
    write_names(names, done)
    assert stat.S_IMODE(names.stat().st_mode) == 0o600
    assert list(json.loads(names.read_text()).values()) == [str(tmp_path / "out" / "file-1.txt")]
    with pytest.raises(RequestError):
        write_names(names, done)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f"\ufeff{NAME}".encode(), "\ufeff<PERSON_1>".encode()),
        (f"{NAME}".encode("utf-16"), "<PERSON_1>".encode("utf-16")),
    ],
    ids=["utf-8 with a mark", "utf-16"],
)
def test_a_stream_keeps_its_encoding(run, data, expected):
    """What came with a mark goes with one."""
    written = io.BytesIO()
    mask_stream(run, io.BytesIO(data), written, "text", None)
    assert written.getvalue() == expected


# --- faults ----------------------------------------------------------------------------------


def test_an_unfinished_file_never_appears(tmp_path):
    """Whatever interrupts a run, there is no half file and no leftover."""
    interrupted = target(tmp_path, "utf-8", force=False)
    made = interrupted.__enter__()
    made.file.write("half")
    assert not interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_loses_one_file_and_leaves_no_half(run, tmp_path, monkeypatch):
    """A write that fails is an outcome of its file; the next one is masked."""
    (tmp_path / "1.txt").write_text("x" * 50_000)
    (tmp_path / "2.txt").write_text(NAME)
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    first, second = outcomes(run, [tmp_path / "1.txt", tmp_path / "2.txt"], tmp_path / "out")
    assert first.code == "not_written"
    assert second.placed.read_text() == "<PERSON_1>"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["2.txt"]


def test_a_folder_that_cannot_be_made_ends_the_run(run, tmp_path):
    """The error says so before anything is read."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RequestError):
        outcomes(run, [tmp_path], tmp_path / "out" / "deeper")


def _die_on_three(number):
    if number == 3:
        os._exit(1)
    return number * 10


def test_a_process_that_dies_costs_its_item_and_no_other():
    """Results stay in order; the item that killed its process is reported as lost."""
    got = list(in_order(_die_on_three, [1, 2, None, 3, 4, None, 5, 6], 2, lambda n: -n))
    assert got == [10, 20, -3, 40, 50, 60]


def test_a_folder_is_no_file_to_read(tmp_path):
    """What is no plain file is refused in a sentence, and nothing is left open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(RequestError, match="no file"), opened(tmp_path):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
