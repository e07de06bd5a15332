"""Persons: names of many cultures and the forms people write them in."""

from __future__ import annotations

import importlib
import pkgutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from deploy.models.ner.generate.grammar import HELD_OUT_ONE_IN, is_held_out

LEXICON: Final = Path(__file__).parents[1] / "lexicon"

SHARES: Final[Mapping[str, str]] = {
    "en": "us:30 hispanic:12 faker:14 invented:6 words:5 indian:4 pakistani:2 bangladeshi:1 chinese:3"
    " vietnamese:3 korean:2 japanese:2 filipino:3 arabic:4 persian:1 turkish:1 nigerian:3 ghanaian:1"
    " ethiopian:2 somali:2 polish:2 russian:2 ukrainian:1 greek:1 italian:2 portuguese:2 french:1"
    " german:2 dutch:1 scandinavian:2 irish:3 jewish:2 native:1 pacific:1 haitian:1 balkan:1"
    " hungarian:1 baltic:1 armenian:1 african_american:3 southeast:1 script:1",
    "europe": "turkish:14 polish:10 russian:12 ukrainian:6 balkan:8 romanian:5 greek:5 italian:6 french:6 german:8"
    " hungarian:3 baltic:4 armenian:3 dutch:3 scandinavian:5 portuguese:3 hispanic:3 us:4 irish:2 arabic:3 persian:1"
    " somali:1 pakistani:1 faker:10 invented:4",
    "es": "hispanic:62 faker:10 invented:5 portuguese:4 italian:3 arabic:3 french:2 german:2 chinese:2"
    " romanian:2 us:2 nigerian:1 ukrainian:1 pakistani:1",
    "fr": "french:52 faker:14 invented:5 arabic:8 portuguese:3 italian:3 nigerian:2 haitian:3"
    " vietnamese:2 german:2 hispanic:2 polish:2 turkish:1 us:1",
    "de": "german:52 faker:14 invented:5 turkish:7 polish:4 balkan:4 russian:3 arabic:3 italian:2"
    " greek:1 ukrainian:1 scandinavian:1 dutch:1 french:1 us:1",
}
"""Culture and weight, by language of the text or the ``%names`` of a file; ``faker``, ``invented`` and ``script`` are made here."""

FAMILY_FIRST: Final = frozenset({"chinese", "vietnamese", "korean", "japanese", "hungarian"})
TITLES: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "en": {
        "m": ("Mr.", "Mr.", "Mr", "Mr", "Mister", "Mx."),
        "f": ("Ms.", "Mrs.", "Ms", "Mrs", "Miss", "Ms.", "Mrs."),
    },
    "es": {
        "m": ("Sr.", "Don", "D.", "señor", "Señor", "Sr", "sr."),
        "f": ("Sra.", "Doña", "Dña.", "señora", "Señora", "Srta.", "Sra", "D.ª"),
    },
    "fr": {"m": ("M.", "Monsieur", "M.", "Mr", "monsieur"), "f": ("Mme", "Madame", "Mme", "Mlle", "madame")},
    "de": {"m": ("Herr", "Herr", "Herrn", "Hr."), "f": ("Frau", "Frau", "Fr.", "Frau")},
}  # fmt: skip
SUFFIXES: Final = ("Jr.", "Jr", "Sr.", "III", "II", "IV", ", Jr.", "Sr")
ONSETS: Final = "b br c ch d dr f fl g gr h j k kr l m n p pr qu r s sh st t th tr v w y z".split()
NUCLEI: Final = "a e i o u ai ea ee ie ou a e i o ya ia".split()
CODAS: Final = " n l r s nd rt ll ss ck m x th ng nn  ".split(" ")
SURNAME_ENDS: Final = (
    "son sen man mann er ley ton ford berg stein ski wicz ez es ova enko ian yan idis opoulos ini etti"
    " eau ard ier wala wu ng ado eira kar dze shvili oglu nen quist lund dal worth well by ham"
).split()
NICKS: Final[Mapping[str, str]] = {
    "Robert": "Bob Bobby Rob", "William": "Bill Billy Will", "Elizabeth": "Liz Beth Betty Libby", "Margaret": "Peggy Maggie Meg",
    "Richard": "Rick Dick Rich", "James": "Jim Jimmy Jamie", "John": "Jack Johnny", "Katherine": "Kate Kathy Katie Kit",
    "Thomas": "Tom Tommy", "Michael": "Mike Mikey", "Patricia": "Pat Patty Trish", "Charles": "Chuck Charlie",
    "Edward": "Ed Eddie Ted", "Dorothy": "Dot Dottie", "Joseph": "Joe Joey", "Francisco": "Paco Pancho", "Jose": "Pepe", "José": "Pepe",
    "Theodore": "Ted Teddy", "Susan": "Sue Suzie", "Deborah": "Deb Debbie", "Anthony": "Tony", "Steven": "Steve", "Daniel": "Dan Danny",
    "Jesus": "Chuy", "Ignacio": "Nacho", "Guadalupe": "Lupe", "Rosario": "Charo", "Alexander": "Alex Sasha Xander", "Nicholas": "Nick",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Culture:
    name: str
    female: tuple[str, ...]
    male: tuple[str, ...]
    surnames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """One person; the names may hold several words."""

    sex: str
    first: str
    middle: str
    last: str
    suffix: str
    culture: str
    nick: str


def ascii_of(name: str) -> str:
    """Without accents; letters that have no base letter stay."""
    table = str.maketrans(
        {
            "ø": "o",
            "Ø": "O",
            "ł": "l",
            "Ł": "L",
            "đ": "d",
            "Đ": "D",
            "ß": "ss",
            "æ": "ae",
            "\u0131": "i",
            "ð": "d",
            "þ": "th",
        }
    )
    folded = unicodedata.normalize("NFKD", name.translate(table))
    return "".join(c for c in folded if not unicodedata.combining(c))


def latin(name: str) -> bool:
    return all(ord(c) < 0x250 or 0x1E00 <= ord(c) < 0x1F00 for c in name)


def read_culture(path: Path) -> Culture:
    """Lines ``f:``, ``m:``, ``s:`` with names between spaces; an underscore is a space in a name."""
    found: dict[str, list[str]] = {"f": [], "m": [], "s": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, names = line.partition(":")
        if kind in found:
            found[kind] += [n.replace("_", " ") for n in names.split()]
    return Culture(path.stem, *(Listed(dict.fromkeys(found[k])) for k in "fms"))


@cache
def faker_cultures() -> tuple[Culture, ...]:
    """The names of every locale of Faker, without an instance of it."""
    package = importlib.import_module("faker.providers.person")
    done = []
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda i: i.name):
        provider = importlib.import_module(f"faker.providers.person.{info.name}").Provider
        lists: list[Listed] = []
        for names in (
            ("first_names_female", "first_names"), ("first_names_male", "first_names"), ("last_names",)
        ):  # fmt: skip
            values: list[str] = []
            for attribute in names:
                values = values or [
                    str(v).strip() for v in getattr(provider, attribute, None) or ()
                ]
            lists.append(Listed(dict.fromkeys(v for v in values if v and "{" not in v)))
        if all(lists):
            done.append(Culture(info.name, *lists))
    return tuple(done)


@cache
def culture(name: str) -> Culture:
    return read_culture(LEXICON / "names" / f"{name}.txt")


class Listed(tuple[str, ...]):
    """A list of values that is its own key: ``cache`` need not hash thousands of names."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@cache
def split(names: tuple[str, ...], held_out: bool) -> tuple[str, ...]:
    """The part of a list used for training or for measuring; a short list serves both."""
    part = tuple(n for n in names if is_held_out(n, HELD_OUT_ONE_IN) == held_out)
    return part if len(part) > 4 else names


@cache
def faker_split() -> tuple[tuple[Culture, ...], tuple[Culture, ...]]:
    both = faker_cultures()
    plain = tuple(c for c in both if latin(c.surnames[0]) and latin(c.male[0]))
    return plain, tuple(c for c in both if c not in plain)


@cache
def shares(lang: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    pairs = [p.split(":") for p in SHARES[lang].split()]
    there = [
        (n, int(w))
        for n, w in pairs
        if n in {"faker", "invented", "script"} or (LEXICON / "names" / f"{n}.txt").is_file()
    ]
    return tuple(n for n, _ in there), tuple(w for _, w in there)


def syllable(rng: Random) -> str:
    return rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS)


def invented(rng: Random) -> str:
    """A word that could be a name."""
    word = "".join(syllable(rng) for _ in range(rng.choice((1, 1, 2))))
    if rng.random() < 0.5:
        word += rng.choice(SURNAME_ENDS)
    elif len(word) < 4:
        word += rng.choice(("a", "o", "i", "en", "ie", "us"))
    return word.capitalize()


def choose(rng: Random, names: tuple[str, ...], held_out: bool) -> str:
    pool = split(names, held_out)
    return pool[int(rng.random() * len(pool))]


def new_person(
    rng: Random, lang: str, held_out: bool, sex: str = "", family: Person | None = None
) -> Person:
    """A person; ``family`` mostly hands on the surname and the culture."""
    sex = sex or rng.choice("fm")
    names, weights = shares(lang)
    name = rng.choices(names, weights)[0]
    if family is not None and rng.random() < 0.8:
        name = family.culture if family.culture not in {"faker", "script"} else "us"
    first, last, middle = drawn(rng, name, sex, held_out, lang)
    if family is not None and rng.random() < 0.65:
        last = family.last
    if name not in {"us", "script", "invented"} and lang == "en" and rng.random() < 0.2:
        first = drawn(rng, "us", sex, held_out, lang)[0]
    if rng.random() < 0.35 and name != "script":
        first, middle, last = ascii_of(first), ascii_of(middle), ascii_of(last)
    suffix = rng.choice(SUFFIXES) if lang == "en" and sex == "m" and rng.random() < 0.08 else ""
    return Person(sex, first, middle, last, suffix, name, nickname(rng, first))


def drawn(rng: Random, name: str, sex: str, held_out: bool, lang: str) -> tuple[str, str, str]:
    """First name, surname, middle name of a culture."""
    if name == "invented":
        return invented(rng), invented(rng), invented(rng)
    if name in {"faker", "script"}:
        pools = faker_split()[name == "script"]
        found = pools[int(rng.random() * len(pools))]
    else:
        found = culture(name)
    given = found.female if sex == "f" else found.male
    first, middle = choose(rng, given, held_out), choose(rng, given, held_out)
    last = choose(rng, found.surnames, held_out)
    chance = rng.random()
    if name in {"hispanic", "portuguese"} and chance < (0.75 if lang == "es" else 0.3):
        last += " " + choose(rng, found.surnames, held_out)
    elif chance > 0.95 and name != "script":
        last += "-" + choose(rng, found.surnames, held_out)
    if name == "french" and rng.random() < 0.15:
        first += "-" + choose(rng, given, held_out)
    return first, last, middle


def nickname(rng: Random, first: str) -> str:
    known = NICKS.get(first)
    if known:
        return rng.choice(known.split())
    word = first.split(maxsplit=1)[0].split("-", maxsplit=1)[0]
    cut = next(
        (k for k in range(2, len(word)) if word[k - 1] not in "aeiouáéíóú" and k >= 3), len(word)
    )
    short = word[:cut]
    return rng.choice((short, short, short + "ie", short + "y", invented(rng), word))


def initial(word: str) -> str:
    return word[0].upper()


def full(p: Person, rng: Random) -> str:
    kind = rng.random()
    last = f"{p.last}{'' if p.suffix.startswith(',') else ' '}{p.suffix}" if p.suffix else p.last
    if p.culture in FAMILY_FIRST and kind < 0.2:
        return f"{p.last} {p.first}"
    if kind < 0.66:
        return f"{p.first} {last}"
    if kind < 0.88:
        return middle_full(p, rng)
    if kind < 0.91:
        return f"{initial(p.first)}. {p.middle} {last}"
    if kind < 0.95:
        return f"{initial(p.first)}.{' ' if kind < 0.93 else ''}{initial(p.middle)}. {last}"
    return last_first(p, rng)


def middle_full(p: Person, rng: Random) -> str:
    middle = rng.choice(
        (f"{initial(p.middle)}.", f"{initial(p.middle)}.", initial(p.middle), p.middle)
    )
    last = f"{p.last} {p.suffix}" if p.suffix and not p.suffix.startswith(",") else p.last
    return f"{p.first} {middle} {last}"


def last_first(p: Person, rng: Random) -> str:
    first = p.first + rng.choice(
        ("", "", f" {initial(p.middle)}", f" {initial(p.middle)}.", f" {p.middle}")
    )
    joint = rng.choice((", ", ", ", ", ", ", ", ",", " ", "^", " , "))
    text = f"{p.last}{joint}{first if joint != '^' else first.replace(' ', '^')}"
    return text.upper() if rng.random() < 0.45 and len(text.upper()) == len(text) else text


def initials(p: Person, rng: Random) -> str:
    letters = [initial(p.first), initial(p.last)]
    if rng.random() < 0.25:
        letters.insert(1, initial(p.middle))
    joint = rng.choice((".", ".", ".", "", ". "))
    return joint.join(letters) + joint.strip()


def titled(p: Person, rng: Random, lang: str, name: str) -> str:
    return f"{rng.choice(TITLES[lang][p.sex])} {name}"


def typo(rng: Random, text: str) -> str:
    """One slip of the keyboard inside a word; the first letter stays."""
    if len(text) < 4:
        return text
    at = rng.randrange(1, len(text) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    return text[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + text[at + 1 :]


ANY: Final = (
    ("full", 34), ("plain", 14), ("first", 10), ("last", 8), ("mr_last", 10), ("f_last", 5), ("last_first", 7),
    ("first_l", 4), ("initials", 3), ("nick", 2), ("mr_full", 2), ("first_nick_last", 1),
)  # fmt: skip
SEXED: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "en": {"he": ("she", "he"), "him": ("her", "him"), "his": ("her", "his"), "sex": ("female", "male"), "mf": ("F", "M")},
    "es": {"he": ("ella", "él"), "him": ("la", "lo"), "his": ("su", "su"), "sex": ("mujer", "varón"), "mf": ("M", "H")},
    "fr": {"he": ("elle", "il"), "him": ("la", "le"), "his": ("sa", "son"), "sex": ("féminin", "masculin"), "mf": ("F", "M")},
    "de": {"he": ("sie", "er"), "him": ("sie", "ihn"), "his": ("ihre", "seine"), "sex": ("weiblich", "männlich"), "mf": ("w", "m")},
}  # fmt: skip
KIN: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "en": {
        "man": ("woman lady female", "man gentleman male"), "son": ("daughter", "son"),
        "mom": ("mother mom mum mother", "father dad father"), "wife": ("wife partner spouse", "husband partner spouse"),
    },
    "es": {"man": ("mujer señora", "hombre varón"), "son": ("hija", "hijo"), "mom": ("madre", "padre"), "wife": ("esposa mujer", "esposo marido")},
    "fr": {"man": ("femme dame", "homme monsieur"), "son": ("fille", "fils"), "mom": ("mère", "père"), "wife": ("épouse compagne", "mari époux conjoint")},
    "de": {"man": ("Frau Patientin", "Mann Patient"), "son": ("Tochter", "Sohn"), "mom": ("Mutter", "Vater"), "wife": ("Ehefrau Frau", "Ehemann Mann")},
}  # fmt: skip
FORMS: Final = frozenset(
    "full plain first last middle_full last_first f_last first_l initials mr_last mr_full nick first_nick_last any"
    " messy he him his sex mf man son mom wife".split()
)


def form(p: Person, name: str, rng: Random, lang: str) -> str:  # noqa: PLR0911
    """``p`` as ``name`` says, one of ``FORMS``."""
    if name in {"full", "middle_full", "last_first", "initials"}:
        made = {
            "full": full,
            "middle_full": middle_full,
            "last_first": last_first,
            "initials": initials,
        }
        return made[name](p, rng)
    if name in {"plain", "first", "last", "nick"}:
        return {"plain": f"{p.first} {p.last}", "first": p.first, "last": p.last, "nick": p.nick}[
            name
        ]
    if name == "f_last":
        return f"{initial(p.first)}{rng.choice(('. ', '. ', '.', ' '))}{p.last}"
    if name == "first_l":
        return f"{p.first} {initial(p.last)}{rng.choice(('.', ''))}"
    if name == "mr_last":
        return titled(p, rng, lang, p.last)
    if name == "mr_full":
        return titled(p, rng, lang, f"{p.first} {p.last}")
    if name == "first_nick_last":
        left, right = rng.choice(('""', '""', "()", "“”", "''"))
        return f"{p.first} {left}{p.nick}{right} {p.last}"
    if name in SEXED["en"]:
        return SEXED[lang][name][p.sex == "m"]
    if name in KIN["en"]:
        return rng.choice(KIN[lang][name][p.sex == "m"].split())
    text = form(p, rng.choices([n for n, _ in ANY], [w for _, w in ANY])[0], rng, lang)
    return text if name == "any" else messy(rng, text)


def messy(rng: Random, text: str) -> str:
    kind = rng.random()
    if kind < 0.3:
        return text.lower()
    if kind < 0.5:
        return text.upper()
    return typo(rng, text) if kind < 0.6 else text
