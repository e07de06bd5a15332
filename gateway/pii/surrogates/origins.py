"""What a name or an address tells of its origin, and of whom: titles, particles, letters."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from gateway.pii.surrogates import pools
from gateway.pii.surrogates.kinds import folded

FEMALE = folded(
    "mrs ms miss mme mlle madame mademoiselle frau fraulein sra srta dona senora "
    "senorita madam maam sister aunt grandma mom missus dottssa"
)
MALE = folded(
    "mr mister sir herr herrn monsieur m sr don senor brother uncle grandpa dad father dott"
)
_TITLE_ORIGINS = {
    "de_DE": folded("herr herrn frau fraulein"),
    "fr_FR": folded("m mme mlle madame monsieur mademoiselle maitre"),
    "es_ES": folded("sr sra srta don dona senor senora senorita"),
    "it_IT": folded("dott dottssa"),
}
_PARTICLE_ORIGINS = {
    "nl_NL": folded("van der den ten ter"),
    "de_DE": folded("von zu zum zur vom"),
    "fr_FR": folded("du des le les"),
    "it_IT": folded("di della"),
    "pt_BR": folded("da dos das"),
    "es_ES": folded("de la del los las y"),
}
_LETTER_ORIGINS = (
    ("tr_TR", "\u011f\u0131\u015f\u0130\u011e\u015e"),
    ("de_DE", "\u00e4\u00f6\u00fc\u00df\u00c4\u00d6\u00dc"),
    ("es_ES", "\u00f1\u00d1\u00e1\u00ed\u00f3\u00fa\u00c1\u00cd\u00d3\u00da"),
    ("fr_FR", "\u00e8\u00ea\u00eb\u00e7\u00ee\u00f4\u00e2\u00c8\u00c7"),
    ("pt_BR", "\u00e3\u00f5"),
    ("da_DK", "\u00f8\u00e6\u00d8"),
    ("sv_SE", "\u00e5\u00c5"),
    ("cs_CZ", "\u0159\u011b\u016f\u017e\u0161\u010d"),
)
_STREET_ORIGINS = {
    "fr_FR": folded("rue impasse quai bd allee"),
    "es_ES": folded("calle avenida avda paseo carretera plaza"),
    "it_IT": folded("via viale piazza corso"),
}
_GERMAN_ENDINGS = ("strasse", "str", "gasse", "weg", "platz", "damm", "ufer")
PARTICLES = folded(
    "van von der den de la las los le les du des del della di da das dos zu zum zur ten ter vom el "
    "bin bint ibn y e und and et o d l mc mac nee geb"
)


def origin(value: str, folds: Sequence[str]) -> str | None:
    """Faker's locale for the origin that a name tells, English where it tells none.

    None for scripts without spaces between words, and for a mixture.
    """
    letters = [character for character in value if character.isalpha()]
    for script, locale in pools.SCRIPTS.items():
        written = regex.compile(rf"\p{{Script={script}}}")
        if letters and all(written.match(letter) for letter in letters):
            return locale
    if not all(regex.match(r"\p{Script=Latin}|\u02bc", letter) for letter in letters):
        return None
    said = set(folds)
    for hints in (_TITLE_ORIGINS, _PARTICLE_ORIGINS):
        for locale, words in hints.items():
            if said & words and len(said) > 1:
                return locale
    for locale, marks in _LETTER_ORIGINS:
        if any(mark in value for mark in marks):
            return locale
    listed = [pools.origins()[word] for word in reversed(folds) if word in pools.origins()]
    return listed[0] if listed else pools.ENGLISH


def street_origin(folds: Sequence[str]) -> str | None:
    """Faker's locale for the language of an address, where a word of it tells."""
    for locale, words in _STREET_ORIGINS.items():
        if not words.isdisjoint(folds):
            return locale
    german = any(word.endswith(_GERMAN_ENDINGS) for word in folds)
    return "de_DE" if german else None
