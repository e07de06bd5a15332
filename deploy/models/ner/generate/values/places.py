"""Places, addresses and postal codes, mostly made of listed parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Final

from deploy.models.ner.generate.grammar import Draw
from deploy.models.ner.generate.values.names import LEXICON, Listed, choose, drawn, invented
from deploy.models.ner.generate.values.numbers import filled


@cache
def lexicon(name: str, lang: str) -> tuple[str, ...]:
    """The lines of ``lexicon/<lang>/<name>.txt``, else of ``lexicon/<name>.txt``; none if neither is there."""
    for path in (LEXICON / lang / f"{name}.txt", LEXICON / f"{name}.txt"):
        if path.is_file():
            lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
            return Listed(
                dict.fromkeys(line for line in lines if line and not line.startswith("#"))
            )
    return Listed()


def pick(d: Draw, name: str) -> str:
    return choose(d.rng, lexicon(name, d.lang), d.held_out)


def family(d: Draw) -> str:
    return drawn(
        d.rng,
        d.rng.choice(("us", "us", "irish", "german", "hispanic", "invented")),
        "m",
        d.held_out,
        d.lang,
    )[1]


ENDS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": tuple("ville burg ton field ford wood port dale mont view haven side boro bury worth ham land hurst mere wick stead leigh brook bridge".split()),
    "es": tuple("illa ar ejo osa alba era ales".split()), "fr": tuple("ville court mont ières ac ay y sur-Mer".split()), "de": tuple("hausen heim dorf berg burg stadt bach ingen au walde feld stein".split()),
}  # fmt: skip
BEFORE: Final = (
    "North",
    "East",
    "West",
    "South",
    "New",
    "Fort",
    "Mount",
    "Lake",
    "Port",
    "San",
    "Santa",
    "Saint",
    "St.",
    "Glen",
    "El",
    "Los",
    "La",
    "Upper",
    "Old",
    "Point",
    "Cape",
    "Little",
    "Big",
)
AFTER: Final = (
    "Falls",
    "Springs",
    "Heights",
    "Hills",
    "City",
    "Beach",
    "Grove",
    "Park",
    "Junction",
    "Creek",
    "Valley",
    "Center",
    "Township",
    "Harbor",
    "Lake",
    "Point",
    "Ridge",
    "Corners",
    "Crossing",
    "Rapids",
    "Bluff",
    "Mills",
)


def city(d: Draw) -> str:
    """A listed town, or an invented one."""
    rng, kind = d.rng, d.rng.random()
    listed = lexicon("city", d.lang)
    if listed and kind < 0.72:
        return choose(rng, listed, d.held_out)
    if kind < 0.8 or d.lang != "en":
        if kind < 0.78:
            return choose(rng, lexicon("world_city", "en"), d.held_out)
        stem = invented(rng)
        return (stem[:5].rstrip("aeiou") or stem) + rng.choice(ENDS[d.lang])
    base = choose(rng, lexicon("place_word", "en"), d.held_out) if rng.random() < 0.6 else family(d)
    if kind < 0.88:
        return f"{base} {rng.choice(AFTER)}"
    if kind < 0.93:
        return f"{rng.choice(BEFORE)} {base}"
    return base + rng.choice(ENDS["en"]) if " " not in base else base


NUMBERS: Final = ("%", "%#", "%##", "%##", "%###", "%###", "%####", "%#-%#", "%#@", "%#B")


def number(rng: Random) -> str:
    return filled(rng, rng.choice(NUMBERS))


def ordinal(n: int) -> str:
    return f"{n}{'th' if 10 < n % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def street(d: Draw) -> str:
    return {"en": english_street, "es": spanish_street, "fr": french_street, "de": german_street}[
        d.lang
    ](d)


SUFFIX: Final = (
    "St Street Ave Avenue Rd Road Dr Drive Ln Lane Blvd Boulevard Ct Court Pl Place Way Cir Circle Ter Terrace Pkwy Parkway Trail Trl Loop Row Close"
    " Crescent Mews Gardens Grove Hwy Square Run Path Hill St. Ave. Rd. Dr. Ln. Blvd. Walk Pike Alley Crossing"
).split()  # fmt: skip


def english_street(d: Draw) -> str:
    rng, kind = d.rng, d.rng.random()
    if kind < 0.05:
        return f"{rng.choice(('P.O. Box', 'PO Box', 'P.O. BOX', 'POB'))} {filled(rng, rng.choice(('###', '####', '%#', '#####')))}"
    if kind < 0.09:
        return f"{number(rng)} {rng.choice(('Hwy', 'Highway', 'County Road', 'CR', 'FM', 'State Route', 'US-', 'Route', 'Rural Route', 'RR'))} {filled(rng, rng.choice(('%#', '%##', '%')))}"
    if kind < 0.2:
        name = (
            ordinal(rng.randrange(1, 190))
            if kind < 0.17
            else rng.choice(
                ("First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Eighth", "Tenth")
            )
        )
    elif kind < 0.62:
        name = pick(d, "street_word")
    else:
        name = family(d) if kind < 0.85 else choose(rng, lexicon("place_word", "en"), d.held_out)
    direction = (
        rng.choice(
            (
                "N",
                "S",
                "E",
                "W",
                "North",
                "South",
                "East",
                "West",
                "N.",
                "S.",
                "NW",
                "SE",
                "SW",
                "NE",
            )
        )
        + " "
        if rng.random() < 0.2
        else ""
    )
    text = f"{number(rng)} {direction}{name} {rng.choice(SUFFIX)}"
    if kind > 0.97:
        text += rng.choice((" N", " NW", " SE", " South", " W"))
    if rng.random() < 0.25:
        unit = rng.choice(
            (
                "Apt",
                "Apt.",
                "Unit",
                "#",
                "Suite",
                "Ste",
                "apt",
                "Apartment",
                "Flat",
                "Floor",
                "Lot",
                "Trlr",
                "Bldg",
            )
        )
        text += (
            rng.choice((" ", ", ", " ", ", "))
            + unit
            + ("" if unit == "#" else " ")
            + filled(rng, rng.choice(("%", "%#", "%##", "%@", "@", "%#@", "@%")))
        )
    return text


def spanish_street(d: Draw) -> str:
    rng = d.rng
    kind = rng.choice(
        (
            "Calle",
            "C/",
            "C/",
            "Avda.",
            "Avenida",
            "Plaza",
            "Paseo",
            "Pza.",
            "calle",
            "Camino",
            "Ronda",
            "Carretera",
            "Pasaje",
            "Travesía",
            "Av.",
            "Urbanización",
            "Glorieta",
        )
    )
    name = (
        pick(d, "street_word")
        if lexicon("street_word", "es") and rng.random() < 0.6
        else rng.choice(("de ", "", "", "del ")) + drawn(rng, "hispanic", "m", d.held_out, "es")[1]
    )
    text = f"{kind} {name}{rng.choice((', ', ' ', ', nº ', ' n.º ', ', núm. ', ' #'))}{filled(rng, rng.choice(('%', '%#', '%##')))}"
    if rng.random() < 0.4:
        text += ", " + filled(
            rng,
            rng.choice(
                (
                    "%º @",
                    "%ºB",
                    "%.º izq.",
                    "bajo",
                    "%º dcha.",
                    "piso %",
                    "portal %, %º@",
                    "ático",
                    "depto. %##",
                    "Col. Centro",
                    "esc. @, %º %ª",
                )
            ),
        ).replace("esc. *", "esc.")
    return text


def french_street(d: Draw) -> str:
    rng = d.rng
    kind = rng.choice(
        (
            "rue",
            "rue",
            "rue",
            "avenue",
            "boulevard",
            "place",
            "allée",
            "chemin",
            "impasse",
            "quai",
            "bd",
            "av.",
            "Rue",
            "cours",
            "route",
            "square",
        )
    )
    name = (
        pick(d, "street_word")
        if lexicon("street_word", "fr") and rng.random() < 0.7
        else rng.choice(("", "de ", "du ", "des ")) + drawn(rng, "french", "m", d.held_out, "fr")[1]
    )
    text = f"{filled(rng, rng.choice(('%', '%#', '%##')))}{rng.choice(('', '', '', ' bis', ' ter'))}{rng.choice((', ', ' ', ' '))}{kind} {name}"
    return text + (
        rng.choice((", appt ", ", bât. ", ", appartement ", ", esc. "))
        + filled(rng, rng.choice(("%#", "@", "%")))
        if rng.random() < 0.2
        else ""
    )


def german_street(d: Draw) -> str:
    rng = d.rng
    stem = (
        pick(d, "street_word")
        if lexicon("street_word", "de") and rng.random() < 0.6
        else drawn(rng, "german", "m", d.held_out, "de")[1]
    )
    kind = rng.choice(
        (
            "straße",
            "str.",
            "strasse",
            "weg",
            "platz",
            "gasse",
            "allee",
            "ring",
            "-Straße",
            "damm",
            "ufer",
            " Str.",
            " Weg",
            "stieg",
            "hof",
        )
    )
    name = (
        f"Am {stem}{rng.choice(('', 'berg', 'bach', 'graben'))}"
        if rng.random() < 0.1
        else stem + kind
    )
    return f"{name} {filled(rng, rng.choice(('%', '%#', '%##', '%#?', '%#-%#')))}"


ZIPS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("#####", "#####", "#####", "#####", "#####", "#####-####", "0####", "@%@ %@%", "@@% %@@", "@%# %@@", "@@%# %@@", "@% %@@", "####", "######"),
    "es": ("0%###", "2%###", "4####", "%####", "5####"), "fr": ("75###", "%####", "0%###", "69###", "####", "@%@ %@%"), "de": ("%####", "0%###", "#####", "####", "D-#####", "A-####", "CH-####"),
}  # fmt: skip
MAKERS: Final[dict[str, Callable[[Draw], str]]] = {
    "city": city, "street": street, "address": lambda d: f"{street(d)}, {city(d)}" if d.rng.random() < 0.7 else street(d),
    "zip": lambda d: filled(d.rng, d.rng.choice(ZIPS[d.lang])),
    "coordinates": lambda d: d.rng.choice((filled(d.rng, "%#.#####, -%#.#####"), filled(d.rng, "%#°%#'%#\"N %#°%#'%#\"W"), filled(d.rng, "%#.####° N, %#.####° W"))),
}  # fmt: skip
