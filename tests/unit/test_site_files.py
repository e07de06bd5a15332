"""A site's files: what they hold when they are right, and what is said when they are not."""

from __future__ import annotations

import pytest

from gateway.errors import DataFileError, SettingsError
from gateway.pii.port import DENIED
from gateway.pii.site.files import load_site, read_file
from gateway.pii.site.words import Case

HEAD = "name: quorvex\nversion: 1\n"
CASES = "cases:\n  - text: nothing here\n"
PATTERN = "patterns:\n  - id: visit\n    type: MEDICAL_RECORD\n    pattern: '\\bQX-[0-9]{6}\\b'\n"
LIST = "lists:\n  - id: staff\n    type: PERSON\n    file: staff.txt\n"
SECRETIVE = "Zebulonia Quixote-Planted"


def write(folder, text, name="site.yaml", mode=0o600):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_everything_of_a_file_is_read(tmp_path):
    """Patterns, lists, deny and allow lists and cases come out as they were written."""
    write(tmp_path, "# staff\nAnn Quorvex\n\n  Bo Lindqvistova  \n", "staff.txt")
    write(tmp_path, 'unit,code\nWest,\n,\n"Ward, 4B",12\n', "wards.csv")
    path = write(
        tmp_path,
        HEAD
        + PATTERN
        + "    score: 0.9\n    check: luhn\n    context: [visit]\n"
        + LIST
        + "    case: exact\n    score: 0.7\n    context: [by]\n"
        + "deny:\n  - id: projects\n    type: ID_NUMBER\n    entries: [Project Heron]\n"
        + "allow:\n  - id: own\n    entries: [Quorvex Hospital]\n    file: wards.csv\n"
        + "    column: unit\n"
        + "cases:\n  - text: 'Visit [[MEDICAL_RECORD|QX-123456]] ended'\n",
    )
    file = read_file(path)
    assert (file.name, file.version) == ("quorvex", "1")
    (rule,) = file.patterns
    assert (rule.id, rule.entity_type, rule.score) == ("site:quorvex/visit", "MEDICAL_RECORD", 0.9)
    assert rule.check is not None
    assert rule.context is not None
    (staff,) = file.lists
    assert staff.entries == ("Ann Quorvex", "Bo Lindqvistova")
    assert (staff.case, staff.score, staff.entity_type) == (Case.EXACT, 0.7, "PERSON")
    (projects,) = file.denied
    assert (projects.source, projects.score) == (f"{DENIED}quorvex/projects", 1.0)
    (own,) = file.allowed
    assert own.entries == ("Quorvex Hospital", "West", "Ward, 4B")
    (example,) = file.examples
    assert (example.text, example.spans) == (
        "Visit QX-123456 ended",
        (("MEDICAL_RECORD", 6, 15),),
    )


def test_the_digest_covers_every_byte_that_decides(tmp_path):
    """A name added to a list beside the file is another digest, as is a change of the file."""
    write(tmp_path, "Ann Quorvex\n", "staff.txt")
    path = write(tmp_path, HEAD + LIST + CASES)
    first, before = read_file(path).digest, load_site(tmp_path).digest
    write(tmp_path, "Ann Quorvex\nBo Lindqvistova\n", "staff.txt")
    second = read_file(path).digest
    write(tmp_path, HEAD + LIST + CASES + "# more\n")
    assert len({first, second, read_file(path).digest}) == 3
    assert load_site(tmp_path).digest != before


ENTRIES = "lists:\n  - id: a\n    type: PERSON\n    entries: "
FAULTS = {
    # id: (text, line:col, words of the message)
    "empty": ("", "1:1", "empty"),
    "nothing": (HEAD + CASES, "1:1", "says nothing"),
    "no cases": (HEAD + PATTERN, "1:1", "'cases' is missing"),
    "empty cases": (HEAD + PATTERN + "cases: []\n", "7:8", "empty list"),
    "no name": ("version: 1\n" + PATTERN + CASES, "1:1", "'name' is missing"),
    "name": (HEAD.replace("quorvex", "../etc") + PATTERN + CASES, "1:7", "no name"),
    "key": (HEAD + "list:\n  - id: a\n" + CASES, "3:1", "did you mean 'lists'"),
    "key twice": (HEAD + "name: b\n" + CASES, "3:1", "twice"),
    "type": (HEAD + PATTERN.replace("MEDICAL_RECORD", "MEDICAL_RECRD") + CASES, "5:11", "did you"),
    "check": (HEAD + PATTERN + "    check: lunh\n" + CASES, "7:12", "'luhn'"),
    "score": (HEAD + PATTERN + "    score: 2\n" + CASES, "7:12", "no score"),
    "yes": (HEAD + ENTRIES + "[Ann Quorvex, yes]\n" + CASES, "6:28", "YAML 1.1"),
    "alias": (HEAD + ENTRIES + "*a\n" + CASES, "6:14", "an alias"),
    "pattern": (HEAD + PATTERN.replace("{6}", "{6}(") + CASES, "6:14", "RE2"),
    "lookaround": (HEAD + PATTERN.replace("'\\b", "'(?<!a)") + CASES, "6:14", "RE2"),
    "matches nothing": (HEAD + PATTERN.replace("{6}\\b", "{6}|") + CASES, "6:14", "nothing is"),
    "id twice": (HEAD + PATTERN + LIST.replace("staff\n", "visit\n") + CASES, "8:9", "twice"),
    "no entries": (HEAD + ENTRIES[:-13] + "\n" + CASES, "4:5", "without entries"),
    "path": (HEAD + LIST.replace("staff.txt", "../staff.txt") + CASES, "6:11", "no list beside"),
    "no file": (HEAD + LIST.replace("staff.txt", "gone.txt") + CASES, "6:11", "cannot be read"),
    "column of txt": (HEAD + LIST + "    column: a\n" + CASES, "7:13", "no columns"),
    "short entry": (HEAD + ENTRIES + "[Ann Quorvex, J]\n" + CASES, "6:28", "less than 2 letters"),
    "no word": (HEAD + ENTRIES + "['--']\n" + CASES, "6:15", "less than 2 letters"),
    "long entry": (HEAD + ENTRIES + f"[{'ab ' * 20}]\n" + CASES, "6:15", "16 words"),
    "weak denied": (
        HEAD + "deny:\n  - id: a\n    type: YEAR\n    entries: [Ann]\n" + CASES, "5:11", "masked",
    ),
    "denied score": (
        HEAD + "deny:\n  - id: a\n    type: PERSON\n    score: 1\n" + CASES, "6:5", "unknown key",
    ),
    "case": (HEAD + ENTRIES + "[Ann]\n    case: never\n" + CASES, "7:11", "unknown case"),
    "mark": (HEAD + PATTERN + "cases:\n  - text: '[[PERSON]] a'\n", "8:5", "a mark"),
    "marked type": (HEAD + PATTERN + "cases:\n  - text: '[[HUMAN|A]] a'\n", "8:5", "HUMAN"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "place", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_reported_at_its_place_with_the_fix(tmp_path, text, place, words):
    """Whatever is wrong, the error names file, line and column, the fault, and what to do."""
    write(tmp_path, "Ann Quorvex\n", "staff.txt")
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_site(tmp_path)
    assert isinstance(caught.value, DataFileError)
    assert caught.value.where == f"{path}:{place}"
    assert words in caught.value.message


LISTS = {
    "long": (f"Ann\n{SECRETIVE} {'x' * 200}\n", "l.txt", "2:1"),
    "too short": (f"{SECRETIVE}\nx\n", "l.txt", "2:1"),
    "empty": ("# nobody\n\n", "l.txt", "1:1"),
    "quotes": (f'name\n"{SECRETIVE}\n', "l.csv", "2:1"),
    "column": (f"{SECRETIVE}\nx\n", "l.csv", "1:1"),
    "latin": (f"Ann\n{SECRETIVE}\n\udcff\n", "l.txt", "3:1"),
}


@pytest.mark.parametrize(("text", "name", "place"), LISTS.values(), ids=LISTS.keys())
def test_a_fault_in_a_list_names_its_line_and_nobody(tmp_path, text, name, place):
    """Lists name people; a message names the file and the line."""
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / name).chmod(0o600)
    column = "    column: name\n" if name.endswith("csv") else ""
    write(tmp_path, HEAD + LIST.replace("staff.txt", name) + column + CASES)
    with pytest.raises(DataFileError) as caught:
        load_site(tmp_path)
    assert caught.value.where == f"{tmp_path / name}:{place}"
    assert "Zebulonia" not in caught.value.message
    assert "Quixote" not in caught.value.message


@pytest.mark.parametrize("target", [".", "site.yaml", "staff.txt"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_may_write_is_refused(tmp_path, target, mode):
    """Who writes a list decides what is masked, so only the owner may."""
    write(tmp_path, "Ann Quorvex\n", "staff.txt")
    write(tmp_path, HEAD + LIST + CASES)
    path = tmp_path / target
    before = path.stat().st_mode
    path.chmod(before | mode)
    with pytest.raises(DataFileError, match="others may write"):
        load_site(tmp_path)
    path.chmod(before)
    assert load_site(tmp_path).files


def test_a_device_is_no_file(tmp_path):
    """What would never end is not read."""
    (tmp_path / "site.yaml").symlink_to("/dev/zero")
    with pytest.raises(DataFileError, match="regular"):
        load_site(tmp_path)


def test_no_folder_and_an_empty_one_hold_nothing(tmp_path):
    """A site need not know anything."""
    assert load_site(tmp_path / "none").files == ()
    assert load_site(tmp_path).files == ()


def test_files_that_would_be_overlooked_are_refused(tmp_path):
    """A file with the other ending would be left out in silence; so would a name twice."""
    stray = write(tmp_path, HEAD + PATTERN + CASES, "site.yml")
    with pytest.raises(DataFileError, match=r"\*\.yaml"):
        load_site(tmp_path)
    stray.rename(tmp_path / "a.yaml")
    write(tmp_path, HEAD + PATTERN + CASES, "b.yaml")
    with pytest.raises(DataFileError, match="another file"):
        load_site(tmp_path)


def test_an_entry_is_not_allowed_and_denied(tmp_path):
    """Two lists that contradict each other mean nothing, also where they spell it differently."""
    both = "deny:\n  - id: d\n    type: PERSON\n    entries: [ann-quorvex]\n"
    both += "allow:\n  - id: a\n    entries: [Ann Quorvex]\n"
    write(tmp_path, HEAD + both + CASES)
    with pytest.raises(DataFileError, match="on an allow list and on a deny list"):
        load_site(tmp_path)
