"""Endless different notes: invented, plain English, with names, dates and numbers among it.

No two share their beginning, so that no cache of prefixes helps either side of a comparison.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

OPENINGS = (
    *("amber", "autumn", "basket", "bridge", "button", "candle", "carpet", "castle", "cellar"),
    *("circle", "copper", "corner", "cotton", "dinner", "farmer", "feather", "finger", "flower"),
    *("forest", "garden", "garlic", "ginger", "hammer", "harbor", "island", "jacket", "kettle"),
    *("ladder", "lemon", "marble", "market", "meadow", "mirror", "morning", "needle", "orange"),
    *("paper", "pencil", "pepper", "pillow", "planet", "pocket", "river", "saddle", "salmon"),
    *("shadow", "silver", "spring", "stable", "summer", "table", "thunder", "timber", "tunnel"),
    *("valley", "velvet", "village", "water", "weather", "window", "winter", "yellow"),
)
NAMES = ("Clara Oakfield", "Jonas Birch", "Ada Fenwick", "Ruth Maple", "Edwin Harrow", "Lena Moss")
MONTHS = ("January", "March", "April", "June", "August", "October")
WITH_VALUES = (
    "{title} {name} came on {day} {month} {year} with pain in the chest and was sent home.",
    "The record has the number MRN {number} and was closed on {day} {month} {year}.",
    "{title} {name} asked to be called under 555-01{short} when the result is there.",
)
PLAIN = (
    "The {part} was {state} and no {thing} was found on the {side} side.",
    "The pressure was {high} over 80 and the pulse was {state} at rest.",
    "The dose stays at {dose} mg once a day in the {time} with a glass of water.",
    "There was no {thing} in the {time} and the {part} has been {state} since then.",
    "The plan is to rest, to drink enough water and to come back in {weeks} weeks.",
    "After {weeks} weeks the {part} should be looked at again, also on the {side} side.",
    "At home the patient walks without help, eats well and sleeps through most of the night.",
)
WORDS = {
    "part": [
        "skin",
        "heart",
        "lung",
        "knee",
        "back",
        "neck",
        "hand",
        "foot",
        "eye",
        "ear",
        "hip",
        "arm",
    ],
    "state": ["regular", "clear", "soft", "warm", "normal", "stable", "calm", "clean", "strong"],
    "thing": ["swelling", "fever", "rash", "wound", "fracture", "infection", "bleeding", "cough"],
    "side": ["left", "right", "upper", "lower", "other"],
    "time": ["morning", "evening", "night", "afternoon", "week"],
    "title": ["Mr.", "Mrs.", "Ms.", "Dr."],
}
PLAIN_BETWEEN = 4  # sentences without values for each with them


def notes(length: int, seed: int) -> Iterator[str]:
    """Endless notes of about ``length`` characters that end with a sentence."""
    source = random.Random(seed)  # noqa: S311  # texts, no secret
    openings = list(itertools.product(OPENINGS, repeat=2))
    source.shuffle(openings)
    for first, second in itertools.cycle(openings):
        text = f"{first.capitalize()} {second} is the word of the day."
        sentences: list[str] = []
        while len(text) < length:
            if not sentences:
                sentences = source.choices(PLAIN, k=PLAIN_BETWEEN) + source.choices(WITH_VALUES)
            text += " " + sentences.pop().format_map(_values(source))
        yield text


def _values(source: random.Random) -> dict[str, object]:
    return {
        **{key: source.choice(words) for key, words in WORDS.items()},
        "name": source.choice(NAMES),
        "month": source.choice(MONTHS),
        "day": source.randint(1, 28),
        "year": source.randint(1950, 2020),
        "number": source.randint(4_000_000, 4_999_999),
        "short": f"{source.randint(0, 99):02}",
        "high": source.randint(100, 160),
        "dose": source.choice((5, 10, 20, 40)),
        "weeks": source.randint(2, 9),
    }
