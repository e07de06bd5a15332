"""The tables of words: each loads, holds a line once, and names nobody by accident."""

from __future__ import annotations

from importlib import resources

import pytest

from gateway.pii.tables import load

LISTS = ("common_words", "eponyms", "heads", "terms")

# Frequent names of the languages in use: a table of terms that held one would let a person through.
NOBODYS_TERM = """
    smith johnson williams brown jones garcia miller davis rodriguez martinez hernandez lopez
    wilson anderson thomas taylor moore jackson martin lee perez thompson white harris sanchez
    clark lewis robinson walker young allen king wright scott torres nguyen hill flores green
    adams nelson baker hall rivera campbell mitchell carter roberts murphy kelly turner parker
    evans collins stewart morris cook rogers reed bailey bell cooper ward cox diaz gray james
    bennett wood brooks price barnes ross long foster powell perry butler grant stone fox rice
    wells webb hunt black palmer wang li zhang chen liu yang huang zhao wu zhou kim park choi
    jung tran pham singh kumar patel khan ali ahmed hassan ibrahim cohen levy katz müller schmidt
    schneider fischer weber meyer wagner becker schulz hoffmann koch bauer richter klein wolf
    dubois durand leroy moreau simon laurent lefebvre michel roux fournier girard bonnet rossi
    ferrari fernandez gonzalez gomez ruiz moreno mary patricia jennifer linda elizabeth barbara
    susan jessica sarah karen nancy lisa margaret john robert michael william david richard
    joseph charles christopher daniel matthew anthony mark donald steven paul andrew joshua
    kenneth kevin brian george edward ronald timothy jason jeffrey ryan jacob gary nicholas eric
    jonathan emma olivia ava sophia isabella mia amelia harper evelyn grace ruby ella alex maria
    carmen ana lucia josé juan carlos luis pierre jean marie camille hans klaus ursula heike anna
    eva ida clara rose violet hope faith joy april june paris london boston vancouver rome vienna
    berlin glasgow ottawa dublin sydney austin dallas houston phoenix denver cleveland orlando
    madrid sevilla lyon nice lille hamburg essen
"""


@pytest.mark.parametrize("name", load.NAMES)
def test_a_table_is_clean_text(name: str) -> None:
    """UTF-8, one entry a line, none blank or padded, none twice, a newline at the end."""
    raw = (resources.files(load.__package__) / f"{name}.txt").read_bytes()
    lines = raw.decode("utf-8", errors="strict").split("\n")
    assert lines.pop() == ""
    entries = [line for line in lines if not line.startswith("#")]
    assert all(line and line == line.strip() for line in entries)
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_words_loads(name: str) -> None:
    """What the gateway reads is what the file holds, tabs and other columns nowhere."""
    found = load.words(name)
    assert found
    assert all("\t" not in entry for entry in found)


def test_every_table_of_the_folder_is_digested() -> None:
    """A table that decides and is not in the digest would change unseen."""
    names = (entry.name for entry in resources.files(load.__package__).iterdir())
    here = {name.removesuffix(".txt") for name in names if name.endswith(".txt")}
    assert here == set(load.NAMES)


@pytest.mark.parametrize("name", ["terms", "eponyms"])
def test_an_entry_is_there_once_however_written(name: str) -> None:
    """Two spellings that differ in case only are one entry."""
    found = load.words(name)
    assert len({entry.casefold() for entry in found}) == len(found)


def test_no_term_is_a_name() -> None:
    """A frequent first name, surname or town is no term, in whatever case."""
    assert {term.casefold() for term in load.words("terms")}.isdisjoint(NOBODYS_TERM.split())


def test_no_term_is_short_enough_for_initials() -> None:
    """Two letters or digits may be the initials or the room of somebody."""
    assert not [t for t in load.words("terms") if sum(c.isalnum() for c in t) < 3]


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("terms", "BRCA2|dupixent|BISAP|T2DM|TIBC|Stark Law|HFrEF|CHA2DS2-VASc|PARADIGM-HF|cT1c"),
        ("terms", "res ipsa loquitur|CPT|E. coli|Medtronic|1099-MISC|EPOC|BPCO|KHK|Marcumar"),
        ("eponyms", "Kellgren-Lawrence|Wells|Babinski|Miranda|Daubert|Leser-Trélat|von Willebrand"),
        ("heads", "score|sign|criteria|doctrine|warning|morbus|maladie de|síndrome de|zeichen"),
    ],
)
def test_a_table_holds_what_it_is_for(name: str, entries: str) -> None:
    """Terms of each kind are found as they are written."""
    assert set(entries.split("|")) <= load.words(name)
