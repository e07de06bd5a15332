"""Names to choose from, by locale and kind: Faker's lists, read when they are first needed.

Left out is what would be restored by mistake: words that people also write in lower case, eponyms,
names of months and of places that a model may write by itself.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

import regex

from gateway.pii.forms import fold
from gateway.pii.known import common_words
from gateway.pii.surrogates.kinds import folded

ENGLISH = "en_US"
LATIN = (
    *(ENGLISH, "es_ES", "de_DE", "fr_FR", "it_IT", "nl_NL", "pt_BR", "tr_TR"),
    *("sv_SE", "da_DK", "cs_CZ", "ro_RO", "hu_HU", "en_IN"),
)
"""Locales whose lists tell the origin of a name; of a name in several, the first is taken."""

SCRIPTS: Mapping[str, str] = MappingProxyType(
    {
        "Cyrillic": "ru_RU",
        "Greek": "el_GR",
        "Hebrew": "he_IL",
        "Arabic": "ar_SA",
        "Devanagari": "hi_IN",
    }
)
"""Other scripts that put spaces between the parts of a name. For the rest there is no surrogate."""

FEMALE, MALE, SURNAME, PLACE = "female", "male", "surname", "place"
_ATTRIBUTES = {
    FEMALE: ("first_names_female", "first_names"),
    MALE: ("first_names_male", "first_names"),
    SURNAME: ("last_names",),
}
_NAME = regex.compile(r"\p{Lu}\p{Ll}{3,11}|[\p{Lo}\p{M}]{2,14}")
_CITIES = 300  # drawn once per locale

# Written by people and models for other reasons than to name a person of the request.
_SPOKEN_FOR = folded(
    "addison allen alzheimer apgar april august austin babinski baker barrett bayer becker "
    "behcet bell berger braden brandt brown bruce carter charlotte chase chester christian "
    "colt crohn cushing dallas daubert denver douglas down duke florence foley ford georgia "
    "gilbert glasgow gordon gram grant graves hamilton harris hartmann harvard hodgkin "
    "holland houston hunter huntington israel jackson jesus jordan june kaiser kaposi kelly "
    "kennedy kenya koch lilly lincoln lloyd london lynch madison marfan maria mary mason may "
    "mayo mercedes merck miranda mohammed montana morgan muhammad murphy nelson orlando page "
    "paget paris parkinson phoenix pierre quincy raynaud romberg rome roth sanofi schilling "
    "sierra simpson stanford stein stevens sydney tinel trendelenburg turner valencia "
    "victoria virginia washington watson weber webster wells whipple whitney wilson wright "
    "york"
)


@cache
def pool(locale: str, kind: str) -> tuple[str, ...]:
    """Names of a kind, without doubles. Empty where a locale has none."""
    found = _places(locale) if kind == PLACE else _persons(locale, kind)
    common = common_words()
    kept = {
        name: None
        for name in found
        if _NAME.fullmatch(name) and fold(name) not in common and fold(name) not in _SPOKEN_FOR
    }
    return tuple(kept)


@cache
def by_initial(locale: str, kind: str) -> Mapping[str, tuple[str, ...]]:
    """The pool by first letter, folded; under the empty string all of it."""
    found: dict[str, list[str]] = {"": []}
    for name in pool(locale, kind):
        found[""].append(name)
        found.setdefault(fold(name)[:1], []).append(name)
    return {initial: tuple(names) for initial, names in found.items()}


@cache
def sexes() -> Mapping[str, str]:
    """First names (folded): female, male, or empty where as many locales say either."""
    votes: Counter[str] = Counter()
    for locale in (*LATIN, *SCRIPTS.values()):
        for kind, vote in ((FEMALE, 1), (MALE, -1)):
            votes.update({fold(n): vote for n in _listed(locale, _ATTRIBUTES[kind][:1])})
    return {n: FEMALE if vote > 0 else MALE if vote else "" for n, vote in votes.items()}


@cache
def origins() -> Mapping[str, str]:
    """Names (folded) of the Latin locales and the first locale that lists them."""
    found: dict[str, str] = {}
    for attributes in (_ATTRIBUTES[SURNAME], ("first_names",)):
        for locale in LATIN:
            for name in _listed(locale, attributes):
                found.setdefault(fold(name), locale)
    return found


def _persons(locale: str, kind: str) -> Iterable[str]:
    return _listed(locale, _ATTRIBUTES[kind])


def _listed(locale: str, attributes: Iterable[str]) -> Iterable[str]:
    module = importlib.import_module(f"faker.providers.person.{locale}")
    for attribute in attributes:
        names = getattr(module.Provider, attribute, ())
        if names:
            return tuple(str(name) for name in names)
    return ()


def _places(locale: str) -> Iterable[str]:
    faker = importlib.import_module("faker").Faker(locale)
    faker.seed_instance(0)
    return [str(faker.city()) for _ in range(_CITIES)]
