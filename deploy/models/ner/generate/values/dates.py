"""Dates in the forms of four languages, and the near misses that are none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Final

from deploy.models.ner.generate.grammar import Draw

MONTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": tuple(
        "January February March April May June July August September October November December".split()
    ),
    "es": tuple(
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split()
    ),
    "fr": tuple(
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split()
    ),
    "de": tuple(
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
    ),
}
SHORT: Final[Mapping[str, tuple[str, ...]]] = {
    "en": tuple("Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec".split()),
    "es": tuple("ene feb mar abr may jun jul ago sep oct nov dic".split()),
    "fr": tuple("janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.".split()),
    "de": tuple("Jan. Feb. März Apr. Mai Jun. Jul. Aug. Sept. Okt. Nov. Dez.".split()),
}
DAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
    "es": tuple("lunes martes miércoles jueves viernes sábado domingo".split()),
    "fr": tuple("lundi mardi mercredi jeudi vendredi samedi dimanche".split()),
    "de": tuple("Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag".split()),
}
HOLIDAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("Christmas", "Thanksgiving", "Labor Day", "Memorial Day", "Easter", "New Year's Eve", "Halloween", "Diwali", "Christmas Eve",
           "Valentine's Day", "Good Friday", "Eid", "Ramadan", "Hanukkah", "Juneteenth", "Veterans Day", "Mother's Day", "Boxing Day", "July 4th", "the Fourth of July", "Passover", "Yom Kippur"),
    "es": ("Navidad", "Nochebuena", "Semana Santa", "Nochevieja", "Reyes", "Año Nuevo", "el Día de los Muertos", "Todos los Santos"),
    "fr": ("Noël", "Pâques", "la Toussaint", "le 14 juillet", "Pentecôte", "le jour de l'An", "l'Ascension"),
    "de": ("Weihnachten", "Ostern", "Pfingsten", "Heiligabend", "Silvester", "Karfreitag", "Neujahr", "Ostermontag", "Fronleichnam"),
}  # fmt: skip
FIRST: Final = dt.date(1930, 1, 1).toordinal()
LAST: Final = dt.date(2027, 12, 31).toordinal()
RECENT: Final = dt.date(2014, 1, 1).toordinal()


def day(d: Draw, born: bool = False) -> dt.date:
    old = born or d.rng.random() < 0.25
    return dt.date.fromordinal(
        d.rng.randrange(FIRST, LAST - 2000) if old else d.rng.randrange(RECENT, LAST)
    )


def ordinal(n: int) -> str:
    return f"{n}{'th' if 10 < n % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def numeric(d: Draw, day: dt.date) -> str:
    rng = d.rng
    y2, y4 = f"{day.year % 100:02d}", f"{day.year}"
    if d.lang == "en" and rng.random() < 0.75:
        a, b = day.month, day.day
    else:
        a, b = day.day, day.month
    joint = rng.choice({"en": "////--.", "es": "///-.", "fr": "///.-", "de": "....."}[d.lang])
    year = rng.choice((y4, y4, y2))
    padded = rng.random() < 0.55
    text = f"{a:02d}{joint}{b:02d}{joint}{year}" if padded else f"{a}{joint}{b}{joint}{year}"
    kind = rng.random()
    if kind < 0.12:
        return (
            f"{y4}-{day.month:02d}-{day.day:02d}"
            if kind < 0.1
            else f"{y4}/{day.month:02d}/{day.day:02d}"
        )
    if kind < 0.15:
        return f"{y4}{day.month:02d}{day.day:02d}"
    if kind < 0.22 and d.lang != "de":
        return f"{a}/{b}"
    if kind < 0.2:
        return f"{a:02d}.{b:02d}."
    return text


def month(d: Draw, m: int) -> str:
    names = MONTHS if d.rng.random() < 0.6 else SHORT
    name = names[d.lang][m - 1]
    if d.lang == "en":
        kind = d.rng.random()
        name = name[:3] if kind < 0.12 and len(name) == 4 else name
        name = name.lower() if kind > 0.93 else name.upper() if kind > 0.88 else name
        name += (
            "."
            if len(name) < 5 and d.rng.random() < 0.15 and name not in {"May", "June", "July"}
            else ""
        )
    return name


def long(d: Draw, day: dt.date) -> str:
    m, rng, n, y = month(d, day.month), d.rng, day.day, day.year
    if d.lang == "es":
        return rng.choice(
            (
                f"{n} de {m} de {y}",
                f"{n} de {m} de {y}",
                f"{n} {m} {y}",
                f"{n}-{m}-{y}",
                f"{n} de {m} del {y}",
                f"{n}/{m}/{y}",
            )
        )
    if d.lang == "fr":
        one = "1er" if n == 1 else str(n)
        return rng.choice((f"{one} {m} {y}", f"{one} {m} {y}", f"{one} {m}"))
    if d.lang == "de":
        return rng.choice((f"{n}. {m} {y}", f"{n}. {m} {y}", f"{n:02d}. {m} {y}", f"{n}. {m}"))
    return rng.choice(
        (f"{m} {n}, {y}", f"{m} {n}, {y}", f"{m} {n}, {y}", f"{m} {n} {y}", f"{n} {m} {y}", f"{m} {ordinal(n)}, {y}", f"{m} {ordinal(n)} {y}",
         f"{ordinal(n)} of {m} {y}", f"{n}-{m}-{y}", f"{n:02d}-{m}-{y % 100:02d}", f"{m} {n}", f"{m} {ordinal(n)}", f"the {ordinal(n)} of {m}", f"{n} {m}", f"{ordinal(n)} {m} {y}",
         f"{m}-{n:02d}-{y}", f"{n:02d}{m}{y}", f"{ordinal(n)} day of {m}, {y}")
    ).removesuffix(".")  # fmt: skip


def with_weekday(d: Draw, day: dt.date) -> str:
    name = DAYS[d.lang][day.weekday()]
    if d.lang == "en" and d.rng.random() < 0.35:
        name = name[:3]
    inner = long(d, day) if d.rng.random() < 0.6 else numeric(d, day)
    joint = {
        "en": d.rng.choice((", ", " ", ", ")),
        "es": d.rng.choice((" ", ", ")),
        "fr": " ",
        "de": ", ",
    }[d.lang]
    return name + joint + inner


def clock(d: Draw) -> str:
    h, m = d.rng.randrange(24), d.rng.randrange(60)
    if d.lang == "en":
        return d.rng.choice(
            (
                f"{h:02d}:{m:02d}",
                f"{h:02d}{m:02d}",
                f"{h % 12 or 12}:{m:02d} {'AM' if h < 12 else 'PM'}",
                f"{h % 12 or 12}:{m:02d}{'am' if h < 12 else 'pm'}",
                f"{h % 12 or 12}{'am' if h < 12 else 'pm'}",
                f"{h:02d}:{m:02d}:{d.rng.randrange(60):02d}",
            )
        )
    return (
        {"es": f"{h}:{m:02d} h", "fr": f"{h}h{m:02d}", "de": f"{h}:{m:02d} Uhr"}[d.lang]
        if d.rng.random() < 0.6
        else f"{h:02d}:{m:02d}"
    )


def date(d: Draw) -> str:
    kind, that = d.rng.random(), day(d)
    if kind < 0.5:
        return numeric(d, that)
    return long(d, that) if kind < 0.92 else with_weekday(d, that)


def dob(d: Draw) -> str:
    that = day(d, born=True)
    for _ in range(4):
        text = numeric(d, that) if d.rng.random() < 0.7 else long(d, that)
        if f"{that.year % 100:02d}" in text[-4:] or f"{that.year}" in text:
            break
    return text


def datetime(d: Draw) -> str:
    that = day(d)
    kind = d.rng.random()
    if kind < 0.15:
        return f"{that.isoformat()}T{d.rng.randrange(24):02d}:{d.rng.randrange(60):02d}:{d.rng.randrange(60):02d}{d.rng.choice(('Z', '', '+01:00', '-05:00', '.000Z'))}"
    if kind < 0.22:
        return f"{that:%Y%m%d}{d.rng.randrange(24):02d}{d.rng.randrange(60):02d}{d.rng.choice(('', '00'))}"
    joint = {
        "en": (" ", " at ", " @ ", ", ", " @"),
        "es": (" a las ", " ", ", "),
        "fr": (" à ", " ", ", "),
        "de": (" um ", ", ", " "),
    }[d.lang]
    first = numeric(d, that) if d.rng.random() < 0.6 else long(d, that)
    return first + d.rng.choice(joint) + clock(d)


def month_year(d: Draw) -> str:
    m, y = (
        d.rng.randrange(1, 13),
        d.rng.choice((d.rng.randrange(1950, 2010), d.rng.randrange(2010, 2027))),
    )
    name = month(d, m)
    if d.lang == "es":
        return d.rng.choice((f"{name} de {y}", f"{name} del {y}", f"{name} {y}", f"{m:02d}/{y}"))
    if d.lang == "en":
        return d.rng.choice(
            (
                f"{name} {y}",
                f"{name} {y}",
                f"{name} of {y}",
                f"{m}/{y}",
                f"{m:02d}/{y}",
                f"{name}, {y}",
                f"{name} '{y % 100:02d}",
                f"{y}-{m:02d}",
                f"mid-{name} {y}",
                f"{name}-{y}",
            )
        )
    return d.rng.choice(
        (f"{name} {y}", f"{name} {y}", f"{m:02d}/{y}" if d.lang == "fr" else f"{m:02d}.{y}")
    )


def month_day(d: Draw) -> str:
    m, n = d.rng.randrange(1, 13), d.rng.randrange(1, 29)
    name = month(d, m)
    if d.lang == "en":
        return d.rng.choice(
            (
                f"{name} {n}",
                f"{name} {ordinal(n)}",
                f"{m}/{n}",
                f"{m}/{n}",
                f"the {ordinal(n)} of {name}",
                f"{m:02d}/{n:02d}",
                f"{n} {name}",
                f"{name} {ordinal(n)}",
            )
        ).removesuffix(".")
    return {
        "es": f"{n} de {name}",
        "fr": f"{n} {name}",
        "de": d.rng.choice((f"{n}. {name}", f"{n}.{m}.", f"{n:02d}.{m:02d}.")),
    }[d.lang]


def holiday(d: Draw) -> str:
    name, y = d.rng.choice(HOLIDAYS[d.lang]), d.rng.randrange(1995, 2027)
    if d.lang == "en":
        return d.rng.choice(
            (
                f"{name} {y}",
                f"{name} {y}",
                f"{name} of {y}",
                f"{name}, {y}",
                f"{name} '{y % 100:02d}",
            )
        )
    return f"{name} de {y}" if d.lang == "es" else f"{name} {y}"


def quarter(d: Draw) -> str:
    q, y, w = d.rng.randrange(1, 5), d.rng.randrange(2005, 2027), d.rng.randrange(1, 53)
    return d.rng.choice({
        "en": (f"Q{q} {y}", f"Q{q} of {y}", f"the {('first', 'second', 'third', 'fourth')[q - 1]} quarter of {y}", f"week {w} of {y}", f"{y}-W{w:02d}", f"FY{y} Q{q}"),
        "es": (f"el {('primer', 'segundo', 'tercer', 'cuarto')[q - 1]} trimestre de {y}", f"T{q} {y}", f"semana {w} de {y}"),
        "fr": (f"T{q} {y}", f"le {q}e trimestre {y}", f"semaine {w} de {y}"), "de": (f"Q{q}/{y}", f"{('I', 'II', 'III', 'IV')[q - 1]}. Quartal {y}", f"KW {w}/{y}"),
    }[d.lang])  # fmt: skip


def year(d: Draw) -> str:
    return str(d.rng.choice((d.rng.randrange(1940, 2000), d.rng.randrange(2000, 2028))))


def season_year(d: Draw) -> str:
    names = {
        "en": ("summer", "winter", "spring", "fall", "autumn", "the summer of", "the winter of", "early", "late", "mid-"), "es": ("el verano de", "el invierno de", "la primavera de", "otoño de"),
        "fr": ("l'été", "l'hiver", "le printemps", "l'automne"), "de": ("Sommer", "Winter", "Frühjahr", "Herbst", "Frühling"),
    }[d.lang]  # fmt: skip
    return f"{d.rng.choice(names)} {year(d)}".replace("- ", "-")


def decade(d: Draw) -> str:
    y = d.rng.randrange(4, 10) * 10
    return d.rng.choice({
        "en": (f"the {y}s", f"the '{y}s", f"19{y}s", f"the 19{y}s", "the early 2000s", "the 2010s", f"the late {y}s"), "es": (f"los años {y}", f"la década de 19{y}"),
        "fr": (f"les années {y}", f"les années 19{y}"), "de": (f"die {y}er Jahre", f"den 19{y}ern", f"den {y}ern"),
    }[d.lang])  # fmt: skip


NINETIES: Final = {
    "en": ("ninety-two", "ninety-one", "ninety five", "ninety-eight", "one hundred and one", "ninety"), "es": ("noventa y dos", "noventa y cinco", "noventa", "noventa y ocho"),
    "fr": ("quatre-vingt-douze", "quatre-vingt-quinze", "quatre-vingt-dix"), "de": ("zweiundneunzig", "fünfundneunzig", "neunzig", "achtundneunzig"),
}  # fmt: skip


def age90(d: Draw) -> str:
    n = d.rng.choice((d.rng.randrange(90, 100), d.rng.randrange(90, 108)))
    b = d.rng.randrange(1915, 1936)
    word = d.rng.choice(NINETIES[d.lang])
    return d.rng.choice({
        "en": (f"{n}", f"{n}", f"{n}-year-old", f"{n} year old", f"{n}yo", f"{n} y/o", f"{n}y", f"{n} years old", f"{n} yo", f"{n}-yr-old", f"{n} years", f"{word}-year-old", word, f"{n}F", f"{n}M",
               "in her nineties", "in his 90s", "in her 90s", "centenarian", "nonagenarian", "early 90s", f"born in {b}", f"b. {b}", f"{n}YO", "over 90", "past her 100th birthday", "mid-nineties", f"{n} y.o.", f"aged {n}", f"age {n}"),
        "es": (f"{n} años", f"{n}", f"{n} años", f"{word} años", "nonagenaria", "nonagenario", "centenaria", f"nacida en {b}", f"nacido en {b}"),
        "fr": (f"{n} ans", f"{n}", f"{n} ans", f"{word} ans", "nonagénaire", "centenaire", f"née en {b}", f"né en {b}"),
        "de": (f"{n} Jahre", f"{n}-jährige", f"{n}-jähriger", f"{n}jährige", f"{n}", f"{word} Jahre", f"Jahrgang {b}", f"{n} J.", "hochbetagte 97-jährige", f"geboren {b}"),
    }[d.lang])  # fmt: skip


def age_phrase(d: Draw) -> str:
    n = d.rng.randrange(1, 90)
    return d.rng.choice({
        "en": (f"{n}yo", f"{n} yo", f"{n} y/o", f"{n}-year-old", f"{n} year old", f"{n}y", f"{n}F", f"{n}M", f"{n} yr old", f"{n}-yo", f"{n} y.o.", f"{n}YO", f"{n} years old", f"{n} yo F", f"{n}yo M", f"{n} yof", f"{n}yom", f"{n} y/o female", f"{n} yo male", f"{n}-year-old woman", f"{n}-year-old man"),
        "es": (f"{n} años", f"{n} años de edad", f"{n} a."), "fr": (f"{n} ans", f"{n}ans", f"âgée de {n} ans"), "de": (f"{n}-jährige", f"{n}-jähriger", f"{n} Jahre alt", f"{n} J.", f"{n}jährige"),
    }[d.lang])  # fmt: skip


def relative(d: Draw) -> str:
    n = d.rng.randrange(2, 30)
    return d.rng.choice({
        "en": ("yesterday", "today", "tomorrow", "last week", "next Tuesday", f"{n} days ago", f"{n} weeks ago", f"POD#{n}", f"POD {n}", f"HD {n}", f"HD#{n}", "this morning", "last night", "two weeks ago", "last month", "next week", f"day {n}", "over the weekend", "last year", "in 2 weeks", f"x{n} days", "a few months back", f"DOL {n}", "on Friday", "Thursday", "by Monday"),
        "es": ("ayer", "hoy", "la semana pasada", f"hace {n} días", f"hace {n} semanas", "el lunes", "esta mañana", f"día {n} postoperatorio"),
        "fr": ("hier", "aujourd'hui", "la semaine dernière", f"il y a {n} jours", f"J{n}", f"J+{n}", "lundi prochain", "ce matin"),
        "de": ("gestern", "heute", "letzte Woche", f"vor {n} Tagen", f"vor {n} Wochen", "am Montag", "heute Morgen", f"{n}. postoperativer Tag"),
    }[d.lang])  # fmt: skip


def duration(d: Draw) -> str:
    n = d.rng.randrange(2, 60)
    return d.rng.choice({
        "en": (f"{n} days", f"{n} weeks", f"{n} months", f"{n} minutes", f"{n} hours", "a week",  f"{n}h", f"q{n}h", f"{n} min", "3-4 days", f"{n} years", f"{n}+ pack years", f"{n}w{n % 7}d"),
        "es": (f"{n} días", f"{n} semanas", f"{n} meses", f"{n} horas", "una semana"), "fr": (f"{n} jours", f"{n} semaines", f"{n} mois", f"{n} heures", f"{n} min"), "de": (f"{n} Tage", f"{n} Wochen", f"{n} Monate", f"{n} Stunden", f"{n} min"),
    }[d.lang])  # fmt: skip


MAKERS: Final[dict[str, Callable[[Draw], str]]] = {
    "date": date, "dob": dob, "date_num": lambda d: numeric(d, day(d)), "date_long": lambda d: long(d, day(d)), "date_iso": lambda d: day(d).isoformat(),
    "datetime": datetime, "month_year": month_year, "month_day": month_day, "holiday": holiday, "quarter": quarter, "year": year, "decade": decade, "season_year": season_year,
    "age90": age90, "age_phrase": age_phrase, "age": lambda d: str(d.rng.randrange(1, 90)), "relative_date": relative, "duration": duration, "time": clock,
    "weekday": lambda d: d.rng.choice(DAYS[d.lang]), "month": lambda d: d.rng.choice(MONTHS[d.lang]),
}  # fmt: skip
