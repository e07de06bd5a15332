"""Whatever a grounded answer says in digits, placeholders and quotations stands in the prompt."""

# ruff: noqa: RUF001 - dashes, quotation marks and digits that look alike are what is tested

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain import Message, Prompt, ResponseFormat
from gateway.engine.constrain.dialects import HERMES
from gateway.engine.constrain.grammar import write
from gateway.engine.constrain.grounded import MAX_CHARACTERS
from gateway.engine.constrain.units import CURRENCIES, SIGNS, UNITS
from gateway.engine.constrain.vocabulary import Vocabulary
from gateway.errors import RequestError
from tests.constraining import END, accepts, allowed, vocabulary

PLACEHOLDERS = ("<PERSON_1>", "<DATE_TIME_1>", "<PERSON_1_2>")
FACTS = (
    *("81", "8", "1", "81 mg", "81mg", "500 mg/d", "-3.5 °C", "+5", "0.81", "7,2 %", "50%", "$50"),
    *("60 €", "€ 70", "2024-05-03", "3/4", "10:30", "1.000,50", "1 000 000", "HbA1c", "CYP3A4"),
    *("120/80 mmHg", "47-year-old", "10 Tage", "trois 3 comprimés", "²", "½", "٣٤ mg", "१२ kg"),
    *("90 ml/min/1.73m²", "5-10 mg", "B12", "20 mg tablets", "3 h", "§12", "~7", "≥60 ml", "x-9"),
    *("8.1 g", "1-2-3", "A-1/B", "4×10^9", "№5", "37,5°C", "5 6 7", "81 g 9"),
)
WORDS = ("the", "patient's", "takes", "Ärztin", "l'homme", "gives", "daily", "mg", "g", "day", "x")
MARKS = (
    " ",
    ", ",
    ". ",
    " - ",
    "\n",
    "(",
    ") ",
    ": ",
    '"',
    "“",
    "”",
    "«",
    "»",
    "'",
    "’",
    "-",
    "/",
    "<",
)
PIECES = (*PLACEHOLDERS, *FACTS, *WORDS, *MARKS, *"0123456789", "<PERSON_2>", " mg", " g", "%", "€")

fragments = st.one_of(
    st.sampled_from(FACTS), st.sampled_from(WORDS), st.sampled_from(PLACEHOLDERS),
    st.sampled_from(MARKS), st.integers(0, 300).map(str), st.text(max_size=3),
)  # fmt: skip
prompts = st.lists(st.tuples(fragments, st.sampled_from([" ", "", " ", "\n"])), max_size=14).map(
    lambda parts: "".join(text + gap for text, gap in parts)
)


def grammar(*texts: str) -> str:
    return stating(texts, PLACEHOLDERS)


def stating(
    texts: Sequence[str], placeholders: Sequence[str] = ("<MRN_1>", "<PHONE_1>", "<PERSON_1>")
) -> str:
    messages = tuple(Message("user", text) for text in texts)
    asked = Prompt(messages, response_format=ResponseFormat("grounded"))
    draft = write(asked, frozenset(placeholders), HERMES)
    assert draft is not None
    return draft.grammar.text


# --- an independent reading --------------------------------------------------------------------

HOLE = re.compile(r"<[A-Z_]+(?:_\d+)+>")
BETWEEN = rf"[:,+*\u00d7^=~@#&{re.escape(CURRENCIES)}]"
NUMBER = re.compile(
    rf"(?<![\w])[-−–+±]?[{re.escape(CURRENCIES)}]?"
    rf"\w*(?:(?:[-./'’·\\]|(?<=\d){BETWEEN}(?=\d))\w+)*"
)
GROUPS = re.compile(
    rf"(?<![-\w.,/:])(?<!\d{BETWEEN})(\d{{1,3}})((?:[ \u00a0\u202f]\d{{3}})+)"
    r"(?=[.,]\d+(?![-/:.,]?\w)|(?![-/:.,]?\w))"
)
QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|»([^«]*)«|‹([^›]*)›')
TOUCHING = re.compile(r"(.*?\d)([^\W\d]+)((?:[/·.^-].*)?)")
UNIT = re.compile(rf"[ \t\u00a0\u202f]*([{re.escape(SIGNS)}]?[^\W\d]*(?:['’][^\W\d]+)*)")


def joined(text: str) -> str:
    """Groups of thousands as one number."""
    return GROUPS.sub(lambda m: re.sub(r"\s", "", m.group()), text)


def stands_in(fact: str, text: str) -> bool:
    """Whether ``fact`` stands in ``text`` by itself: not inside a longer number, date or code."""
    before, after = r"(?<!\w)(?<!\w[-‐–—−./'’·\\])", r"(?!\w)(?![-‐–—−./'’·\\]\w)"
    if fact[0].isnumeric():
        before += rf"(?<![-−–])(?<!\d{BETWEEN})"
    if fact[-1].isnumeric():
        after += rf"(?!{BETWEEN}\d)"
    if re.search(before + re.escape(fact) + after, text):
        return True
    # A number directly before its unit is one by itself.
    for found in re.finditer(before + re.escape(fact) + r"-?(?=[^\W\d])", text):
        if UNIT.match(text, found.end())[1].casefold().split("/")[0] in UNITS:
            return True
    return False


def complaints(answer: str, texts: Sequence[str]) -> list[str]:
    """What of ``answer`` does not stand in ``texts``."""
    wrong = [
        found
        for found in re.findall(r"<[^>\s]*>?", answer)
        if found not in PLACEHOLDERS or not any(found in text for text in texts)
    ]
    free, sources = HOLE.sub(" ; ", answer), [HOLE.sub(" ; ", text) for text in texts]
    for found in QUOTED.finditer(free):
        span = next(group for group in found.groups() if group is not None).strip(" \u00a0\u202f")
        edges = [r"(?<!\w)" * span[:1].isalnum(), r"(?!\w)" * span[-1:].isalnum()]
        if not any(re.search(edges[0] + re.escape(span) + edges[1], text) for text in sources):
            wrong.append(found.group())
    wrong += re.findall(r"[\"“”„«»‹›]", QUOTED.sub(" ; ", free))
    # A placeholder is part of a number, date or code that it touches.
    touched = joined(QUOTED.sub(" ; ", HOLE.sub("Ж", answer)))
    return wrong + misquoted(touched, [joined(HOLE.sub("Ж", text)) for text in texts])


def misquoted(free: str, sources: Sequence[str]) -> list[str]:
    """Numbers, dates, codes and units of ``free`` that do not stand in ``sources``."""
    wrong = []
    for found in NUMBER.finditer(free):
        fact = found.group()
        if not any(map(str.isnumeric, fact)):
            continue
        whole = TOUCHING.fullmatch(fact)
        if whole and whole[2].casefold() in UNITS:
            pair = re.escape(whole[1]) + "[ \t\u00a0\u202f]*" + re.escape(whole[2] + whole[3])
            if any(re.search(pair + r"(?!\w)", text) for text in sources):
                fact = whole[1]
        if not any(stands_in(fact, text) for text in sources):
            wrong.append(fact)
        unit = UNIT.match(free, found.end())[1]
        if unit and (unit[0] in SIGNS or unit.casefold() in UNITS):
            # Letters make another unit of a sign ("°C"), a placeholder after it does not.
            ends = r"(?![^\W\dЖ])" if unit in SIGNS else r"(?![^\W\d])"
            pair = re.escape(fact) + r"[ \t\u00a0\u202f]*" + re.escape(unit) + ends
            if not any(re.search(pair, text) for text in sources):
                wrong.append(fact + unit)
    return wrong


# --- the properties ------------------------------------------------------------------------------


def written(text: str, rng: random.Random, steps: int) -> str:
    """An answer of tokens drawn from what may come, longer pieces first."""
    pieces = [*(bytes([byte]) for byte in range(256)), b"<|end|>", *(p.encode() for p in PIECES)]
    words = Vocabulary(pieces, control=(), ends=(END,), tokenize=list)
    constraint = words.constraint(text)
    assert not constraint.failed
    answer = b""
    for step in range(steps * 4):
        choices = allowed(constraint)
        assert choices, "a dead end"
        if step >= steps and END in choices:
            return answer.decode()
        longer = [one for one in choices if one > END]
        token = rng.choice(longer if longer and rng.random() < 0.9 else choices)
        if token == END:
            continue
        assert constraint.accept(token)
        answer += pieces[token]
    return ""


@given(text=prompts, other=prompts, seed=st.integers(0, 2**32))
@example(text="", other="7,2 %<PERSON_1> ", seed=15)
@example(text="", other="/-3.5 °C ", seed=0)
@settings(max_examples=100, deadline=None)
def test_nothing_that_is_not_in_the_prompt_is_ever_said(text: str, other: str, seed: int):
    """Random tokens under the mask make no fact and no quotation of their own."""
    rng = random.Random(seed)  # noqa: S311
    rules = grammar(text, other)
    for _ in range(3):
        answer = written(rules, rng, 25)
        if "Cn" in map(unicodedata.category, answer):
            continue  # letters newer than this Python's tables: the reading here cannot see them
        assert complaints(answer, [text, other]) == []


@given(facts=st.lists(st.sampled_from((*FACTS[:36], *PLACEHOLDERS)), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_what_the_prompt_says_can_be_said_in_other_words(facts: list[str]):
    """Each fact, in a sentence, in brackets, in a list, in bold: as answers are written."""
    rules = grammar("; ".join(facts) + " was found.")
    for fact in facts:
        assert accepts(rules, f"We found {fact}, the patient's ({fact}): “was found”.")
        assert accepts(rules, f"- {fact}\n- **{fact}** or {fact}")


@pytest.mark.parametrize(
    ("prompt", "answer", "fine"),
    [
        ("aspirin 81 mg", "81 mg", True),
        ("aspirin 81 mg", "81 milligrams", False),
        ("aspirin 81 mg", "81 g", False),
        ("aspirin 81 mg", "81 mg/kg", False),
        ("aspirin 81 mg", "8", False),
        ("aspirin 81 mg", "0.81 mg", False),
        ("aspirin 81 mg", "-81 mg", False),
        ("aspirin 81 mg", "81mg", True),
        ("aspirin 81 mg", "81 times", True),
        ("aspirin 81 mg", "5.81", False),
        ("give .5 mg", "5 mg", False),
        ("give .5 mg", ".5 mg", True),
        ("it is -.5 °C", "5 °C", False),
        ("it costs $.50", "$50", False),
        ('"x",81 (y),7', "81 or 7", True),
        ("5 mg", ".5 mg", False),
        ("٣٫٥ mg", "٥ mg", False),
        ("1⁄2 mg", "2 mg", False),
        ("3⋅5 mg", "5 mg", False),
        ("4×10^-9", "4×10", False),
        ("4×10^-9", "4×10^-9", True),
        ("INR <5", "INR 5", False),
        ("GFR <=60", "60", False),
        ("3 1/2 tablets", "1/2 tablets", False),
        ("3 1/2 tablets", "3 1/2 tablets", True),
        ("72 120/80", "120/80", True),
        ("－5 °C", "5 °C", False),
        ("⁻5", "5", False),
        ("5\u200b6 mg", "6 mg", False),
        ("5\u2009600 mg", "600 mg", False),
        ("10÷2", "2", False),
        ("8 and 1", "81", False),
        ("8 and 1", "8.1", False),
        ("8 and 1", "8 1", False),
        ("8 and 100", "8 100", False),
        ("8 and 1", "8, 1", True),
        ("on 2024-05-03", "2024", False),
        ("since -3.5", "3.5", False),
        ('said "it\'s fine" today', "He said “it's fine”.", True),
        ("said it's fine", 'the "fin"', False),
        ("a twelve", "twelve months", True),
        ("<PERSON_1> came", "<PERSON_1>'s visit", True),
        ("<PERSON_1> came", "<PERSON_1_2>", False),
        ("<PERSON_1> came", "<b>", False),
        ("price 50 €", "50 $", False),
        ("price 50 €", "50", True),
        ("price 50 €", "€50", False),
        ("à 37,5 °C", "37,5 °C", True),
        ("à 37,5 °C", "37,5 °F", False),
        ("à 37,5 °C", "37.5 °C", False),
        ("٣٤ mg", "٣٤ mg", True),
        ("٣٤ mg", "٣", False),
        ("ab12 cd", "ab12", True),
        ("ab12 cd", "ab", True),
        ("ab12 cd", "cd12", False),
        ("", "1. First", False),
        ("aspirin 81", "81 g\u0318", False),
        ("aspirin 81", "81 g'", False),
        ("aspirin 81", "81 \u200bg", False),
        ("aspirin 81", "81\u2009g", False),
        ("aspirin 81", "81 \uff47", False),
        ("aspirin 81", "81 \u338e", False),
    ],
)
def test_examples(prompt: str, answer: str, fine: bool):
    """The rules as a reader would check them."""
    assert accepts(grammar(prompt), answer) is fine
    if fine:
        assert complaints(answer, [prompt]) == []


def test_only_what_people_and_tools_said_is_a_source():
    """What the model said before is none: an error of its own would become a fact."""
    roles = ("system", "developer", "user", "tool", "assistant")
    messages = tuple(Message(role, f"{n}{n}") for n, role in enumerate(roles, 1))
    asked = Prompt(messages, response_format=ResponseFormat("grounded"))
    rules = write(asked, frozenset(), HERMES).grammar.text
    assert [accepts(rules, f"{n}{n}") for n in range(1, 6)] == [True, True, True, True, False]


def test_a_long_prompt_can_be_quoted_too():
    """Thousands of words, masks included: no bound is met on the way."""
    text = " ".join(f"word{number} and {number} mg," for number in range(2000))
    rules = grammar(text)
    words = vocabulary()
    constraint = words.constraint(rules)
    for byte in "It is 1999 mg: “word1998 and 1998 mg, word1999” is last.".encode():
        assert constraint.mask()[byte // 8] >> byte % 8 & 1 or constraint.allows(byte)
        assert constraint.accept(byte)
    assert constraint.may_end


def test_a_prompt_that_is_far_too_long_is_refused_unread():
    """One word of a megabyte is one span of one word: only its length tells."""
    with pytest.raises(RequestError, match="too long") as raised:
        grammar("x" * (MAX_CHARACTERS + 1))
    assert raised.value.param == "response_format"


@pytest.mark.parametrize(
    "answer",
    [
        "<MRN_1><PHONE_1>",
        "-<MRN_1>",
        "<MRN_1> mg",
        "<MRN_1>mg",
        "<MRN_1>81",
        "<MRN_1> <PHONE_1>",
        "$<MRN_1>",
        "81*81",
        "81|81",
        "(81)(81)",
        "-(81)",
        "-(<MRN_1>)",
        "<MRN_1>*<MRN_1>",
        "🔟 mg",
        "💯",
        "🔞",
        "㋀",
        "81٪",
        "81‱",
        "81؉",
        "81″",
        "81′",
        "81 mg / kg",
        "81 mg /kg",
        "81 mg/ kg",
        "(81 mg) / kg",
        "**81** kg",
    ],
)
def test_no_number_is_made_of_facts_side_by_side(answer: str):
    """Placeholders are facts: restored, what touches them would read as another number or unit."""
    assert not accepts(stating(["<MRN_1>; <PHONE_1>; 81 mg"]), answer)


@pytest.mark.parametrize(
    "answer",
    [
        "<MRN_1>, <PHONE_1>",
        "- <MRN_1>",
        "(<MRN_1>)",
        "**<MRN_1>**: <PHONE_1>'s",
        "l'<PERSON_1>",
        "81 / 81",
        "| 81 mg | <MRN_1> |",
        "(81 mg) (<MRN_1>)",
        "✓ 81 mg",
        "81 mg, kg",
    ],
)
def test_facts_stand_in_sentences_lists_and_tables(answer: str):
    """What people write around a fact is no other fact."""
    assert accepts(stating(["<MRN_1>; <PHONE_1>; <PERSON_1>; 81 mg"]), answer)


@pytest.mark.parametrize(
    "text", ["-<MRN_1>", "<MRN_1> mg", "<MRN_1><PHONE_1>", "<MRN_1>/<PHONE_1>"]
)
def test_what_stands_beside_a_placeholder_in_the_prompt_may_be_said(text: str):
    """A sign or a unit at a placeholder is one of the prompt's facts; so is the placeholder."""
    rules = stating([f"It is {text} today"])
    assert accepts(rules, f"Yes, {text}.")
    assert accepts(rules, "Yes, <MRN_1>.")
