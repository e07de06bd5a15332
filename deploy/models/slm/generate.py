"""Documents with questions and the sentences that answer them, drawn from the grammar.

Everything is decided by a ``random.Random`` that the caller seeds. Texts look as the model will
see them: after masking, names, dates, places and numbers of record are placeholders.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import grammar
from grammar import FactType, Grammar

CORPUS = Path(__file__).parents[4] / "shared" / "corpora" / "aci-bench-notes.jsonl"
TRAIN, HELD_OUT = 0, 1  # which side of a Split
STOP = frozenset([
    "the", "and", "for", "with", "that", "this", "was", "were", "are", "has", "had", "have",
    "not", "his", "her", "she", "him", "they", "their", "from", "been", "who", "what", "when",
    "where", "will", "shall", "may", "must", "any", "all", "its", "you", "your", "our", "out",
    "about", "which", "than", "then", "into", "per", "does", "did", "but", "also", "more", "very",
    "there", "here", "she's", "a", "an", "of", "to", "in", "on", "at", "by", "is", "it", "or",
    "as", "be", "patient", "no",
])  # fmt: skip
OPENERS = (
    "What", "Who", "When", "Where", "Why", "How", "Which", "Did", "Is", "Was", "Does", "How much",
    "How long", "What did", "Are there", "Who was", "When did", "What is", "Can", "Has",
    "Which one",
)  # fmt: skip
SYLLABLES = (
    "ba", "ce", "di", "fo", "gu", "ha", "ki", "lo", "me", "nu",
    "pra", "qui", "ro", "sta", "tri", "vel", "wen", "xo", "yl", "zan",
)  # fmt: skip
PLACEHOLDERS = {
    "PERSON": ("<PERSON_{n}>", "<PERSON_{n}>", "<PERSON_{n}_2>"),
    "DATE": ("<DATE_TIME_{n}>", "<DATE_{n}>", "<DATE_TIME_{n}>"),
    "LOC": ("<LOCATION_{n}>", "<LOCATION_{n}>", "<ADDRESS_{n}>"),
    "ORG": ("<ORGANIZATION_{n}>", "<ORG_{n}>", "the hospital", "the company", "the clinic"),
    "MRN": ("<MRN_{n}>", "<MEDICAL_RECORD_NUMBER_{n}>", "<ID_{n}>"),
    "IDNUM": ("<CASE_NUMBER_{n}>", "<ACCOUNT_NUMBER_{n}>", "<ID_{n}>", "<POLICY_NUMBER_{n}>"),
    "PHONE": ("<PHONE_NUMBER_{n}>", "<PHONE_{n}>"),
    "EMAIL": ("<EMAIL_ADDRESS_{n}>", "<EMAIL_{n}>"),
}
HEADINGS = {
    "clinical": (
        "CHIEF COMPLAINT", "HISTORY OF PRESENT ILLNESS", "REVIEW OF SYSTEMS", "MEDICATIONS",
        "PHYSICAL EXAM", "RESULTS", "ASSESSMENT AND PLAN", "Plan:", "Social history", "Vitals",
        "SUBJECTIVE", "OBJECTIVE", "IMPRESSION", "INSTRUCTIONS", "PAST HISTORY", "Dear colleague,",
    ),
    "legal": (
        "1. Definitions", "2. Term", "3. Payment", "THE FACTS", "THE LAW", "PROCEDURE",
        "Background", "IN WITNESS WHEREOF", "Section 4", "RELEVANT LAW",
        "Privileged and confidential", "Article 5",
    ),
    "office": ("Hello,", "Hi all,", "Agenda", "Notes", "Re: your message", "Minutes"),
}  # fmt: skip
LEADS = (
    "", "", "", "", "", "", "", "", "", "", "", "", "Can you tell me: ", "Please answer: ",
    "Question: ", "According to the text, ", "From the note: ", "I need to know: ",
    "Based on this, ", "Quick question. ", "Read the document. ", "Answer from the text. ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    fact: str = ""
    rows: dict[str, int] = field(default_factory=dict)  # lexicon row per slot that was used
    person: str = ""
    salient: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """``answer``: indices of the sentences, ascending; empty where the text does not say."""

    text: str
    answer: tuple[int, ...]
    kind: str  # fact | carrier | summary


@dataclass(frozen=True, slots=True)
class Document:
    sentences: tuple[Sentence, ...]
    questions: tuple[Question, ...]


class Writer:
    """Draws the documents of one side of the split."""

    def __init__(self, rules: Grammar, side: int, carriers: list[list[str]]) -> None:
        self.rules = rules
        self.side = side
        self.carriers = carriers
        self.vocabulary = sorted({w for doc in carriers for s in doc for w in words_of(s)})

    def document(self, rng: Random, *, ease: float = 0.0) -> Document:
        """One document with its questions; ``ease``: share of short ones asked word by word."""
        if rng.random() < ease:
            return self._questions_on_words(self._random_words(rng, most=6), rng, 10)
        draw = rng.random()
        if draw < 0.08:  # noqa: PLR2004 - shares of the mixture
            return self._questions_on_words(self._random_words(rng), rng, 14)
        if draw < 0.25 and self.carriers:  # noqa: PLR2004
            return self._questions_on_words(self._carrier(rng), rng, 14)
        return self.facts(rng)

    # --- kinds of document ---

    def _random_words(self, rng: Random, most: int = 12) -> list[Sentence]:
        """No meaning, only words: matching is all that can be learned."""
        rows = []
        pool = self.vocabulary
        for _ in range(rng.randint(2, most)):
            words = [
                rng.choice(pool) if pool and rng.random() < 0.6 else pseudo_word(rng)  # noqa: PLR2004
                for _ in range(rng.randint(2, 9))
            ]
            rows.append(Sentence(upper(" ".join(words)) + "."))
        return rows

    def _carrier(self, rng: Random) -> list[Sentence]:
        doc = rng.choice(self.carriers)
        size = rng.randint(4, 14)
        start = rng.randrange(max(1, len(doc) - size + 1))
        return [Sentence(text) for text in doc[start : start + size]]

    def facts(self, rng: Random) -> Document:
        """Facts of one domain, with questions about them, about others and for a summary."""
        domain, pool = self._pool(rng)
        size = min(len(pool), rng.choice((3, 4, 5, 6, 7, 8, 9, 10, 12, 16)))
        frame = Frame(self.rules, rng)
        sentences: list[Sentence] = []
        for fact in rng.sample(pool, size):
            copies = rng.choice((1, 1, 2, 3)) if "key" in fact.flags else 1
            sentences.extend(frame.sentence(fact, self.side) for _ in range(copies))
        if rng.random() < 0.3:  # noqa: PLR2004
            rng.shuffle(sentences)
        headings = rng.random() < 0.4  # noqa: PLR2004
        rows: list[Sentence] = []
        for sentence in sentences:
            if headings and rng.random() < 0.3:  # noqa: PLR2004
                rows.append(Sentence(rng.choice(HEADINGS[domain])))
            rows.append(sentence)
        questions = self._fact_questions(rows, pool, frame, rng)
        questions += self._summary(rows, rng)
        carrier = self._questions_on_words(rows, rng, 6).questions
        return Document(tuple(rows), (*questions, *carrier))

    def _pool(self, rng: Random) -> tuple[str, list[FactType]]:
        domain = rng.choices(("clinical", "legal", "office"), (55, 38, 7))[0]
        facts = [f for f in self.rules.facts.values() if f.domain == domain and f.sentences[0]]
        if domain == "legal":
            case = rng.random() < 0.5  # noqa: PLR2004
            crim = rng.random() < 0.5  # noqa: PLR2004
            shared = {"deadline", "settlement", "fees", "advicelegal", "custody", "will", "data"}
            facts = [
                f
                for f in facts
                if f.name.rstrip("1234") in shared
                or (("case" in f.flags) == case and (crim or "crim" not in f.flags))
            ]
        return domain, facts

    # --- kinds of question ---

    def _fact_questions(
        self, rows: list[Sentence], pool: list[FactType], frame: Frame, rng: Random
    ) -> list[Question]:
        present = {row.fact for row in rows if row.fact}
        asked = list(self.rules.facts.values())
        here = [f for f in asked if f.of & present]
        questions: list[Question] = []
        for fact in rng.sample(here, min(len(here), 10)):
            made = self._answerable(fact, rows, frame, rng)
            if made:
                questions.append(made)
        absent = [f for f in pool if not f.of & present and not f.near & present]
        absent = [f for f in absent if f.questions[0]]
        unsaid = rng.sample(absent, min(len(absent), 3))
        questions.extend(self._unanswerable(fact, frame, rng) for fact in unsaid)
        keyed = [f for f in here if "key" in f.flags]
        for fact in rng.sample(keyed, min(len(keyed), 2)):
            text = rng.choice(fact.questions[self.side])
            if any(name in self.rules.lexicon for name, _, _ in grammar.slots(text)):
                questions.append(Question(frame.ask(text, {}, ""), (), "fact"))
        others = [f for f in asked if f.domain != pool[0].domain and f.questions[0]]
        if rng.random() < 0.5:  # noqa: PLR2004
            questions.append(self._unanswerable(rng.choice(others), frame, rng))
        return questions

    def _answerable(
        self, fact: FactType, rows: list[Sentence], frame: Frame, rng: Random
    ) -> Question | None:
        if not fact.questions[self.side]:
            return None
        mine = [i for i, row in enumerate(rows) if row.fact in fact.of]
        target = rows[rng.choice(mine)]
        text = grammar.choose(rng.choice(fact.questions[self.side]), rng)
        wanted = {
            name: column for name, _, column in grammar.slots(text) if name in self.rules.lexicon
        }
        person = "{person}" in text
        if (person and not target.person) or any(name not in target.rows for name in wanted):
            return None
        if not wanted and not person:
            answer = mine
        else:
            answer = [i for i in mine if all(rows[i].rows.get(n) == target.rows[n] for n in wanted)]
            if person:
                answer = [i for i in answer if rows[i].person == target.person]
            if self._ambiguous(wanted, target, rows, answer):
                return None
        asked = frame.ask(text, target.rows, target.person)
        return Question(asked, tuple(answer), "fact") if len(answer) <= 4 else None  # noqa: PLR2004

    def _ambiguous(
        self, wanted: dict[str, int], target: Sentence, rows: list[Sentence], answer: list[int]
    ) -> bool:
        """Say whether another sentence shares a spelling of a column that is asked by."""
        for name, column in wanted.items():
            table = self.rules.lexicon[name]
            mine = set(table[target.rows[name]][column])
            for i, row in enumerate(rows):
                if i in answer or name not in row.rows:
                    continue
                if column == 0 and row.rows[name] == target.rows[name]:
                    return True
                if column and mine & set(table[row.rows[name]][column]):
                    return True
        return False

    def _unanswerable(self, fact: FactType, frame: Frame, rng: Random) -> Question:
        return Question(frame.ask(rng.choice(fact.questions[self.side]), {}, ""), (), "fact")

    def _summary(self, rows: list[Sentence], rng: Random) -> list[Question]:
        salient = [i for i, row in enumerate(rows) if row.salient]
        if len(salient) < 2 or len(rows) < 6:  # noqa: PLR2004 - nothing to sum up
            return []
        text = grammar.choose(rng.choice(self.rules.general["SUM"][self.side]), rng)
        return [Question(dress(text, rng, lead=False), tuple(salient[:5]), "summary")]

    def _questions_on_words(self, rows: list[Sentence], rng: Random, count: int) -> Document:
        """Ask for words of a sentence, or for words that no sentence has."""
        bags = [words_of(row.text) for row in rows]
        frequency = Counter(w for bag in bags for w in set(bag))
        known = {stem(w) for w in frequency}
        questions = []
        for _ in range(count):
            missing = rng.random() < 0.2  # noqa: PLR2004
            if missing:
                words = self._words_elsewhere(rng)
                if not words or {stem(w) for w in words_of(" ".join(words))} & known:
                    continue
                answer: tuple[int, ...] = ()
            else:
                i = rng.randrange(len(rows))
                rare = [w for w in bags[i] if frequency[w] <= 2]  # noqa: PLR2004
                if not rare:
                    continue
                words = phrase(rows[i].text, rng)
                picked = set(words_of(" ".join(words)))
                if not picked & set(rare) or rng.random() < 0.5:  # noqa: PLR2004
                    words = rng.sample(rare, min(len(rare), rng.choice((1, 1, 1, 2, 2, 3))))
                    picked = set(words)
                answer = tuple(j for j, bag in enumerate(bags) if picked <= set(bag))
            questions.append(Question(self._ask_words(words, rng), answer, "carrier"))
        return Document(tuple(rows), tuple(questions))

    def _words_elsewhere(self, rng: Random) -> list[str]:
        pool = self.vocabulary
        if self.carriers and rng.random() < 0.5:  # noqa: PLR2004
            return phrase(rng.choice(rng.choice(self.carriers)), rng)
        return [rng.choice(pool) if pool and rng.random() < 0.7 else pseudo_word(rng)]  # noqa: PLR2004

    def _ask_words(self, words: list[str], rng: Random) -> str:
        text = " ".join(bend(w, rng) for w in words)
        if len(words) > 1 and rng.random() < 0.5:  # noqa: PLR2004
            return dress(f"{rng.choice(OPENERS)} {text}?", rng)
        template = grammar.choose(rng.choice(self.rules.general["CAR"][self.side]), rng)
        return dress(template.replace("{w}", text).replace("{W}", upper(text)), rng)


class Frame:
    """What stays the same through one document: the person, the placeholders, rows used."""

    def __init__(self, rules: Grammar, rng: Random) -> None:
        self.rules = rules
        self.rng = rng
        she = rng.random() < 0.5  # noqa: PLR2004
        self.style = {name: rng.choice(forms) for name, forms in PLACEHOLDERS.items()}
        who = rng.choice(("<PERSON_1>", "Mr. <PERSON_1>" if not she else "Ms. <PERSON_1>"))
        self.patient = rng.choice((who, "the patient", who))
        self.words = {
            "She": ("She" if she else "He"), "she": ("she" if she else "he"),
            "Her": ("Her" if she else "His"), "her": ("her" if she else "his"),
            "her_obj": ("her" if she else "him"),
        }  # fmt: skip
        self.used: dict[str, set[int]] = {}

    def sentence(self, fact: FactType, side: int) -> Sentence:
        text = grammar.choose(self.rng.choice(fact.sentences[side]), self.rng)
        rows: dict[str, int] = {}
        people: list[str] = []
        text = self._fill(text, rows, people, fresh=True)
        person = people[0] if people else ""
        return Sentence(upper(text), fact.name, rows, person, fact.salient)

    def ask(self, text: str, rows: dict[str, int], person: str) -> str:
        """Fill a question: with the rows of its answer, or with rows that no sentence has."""
        text = grammar.choose(text, self.rng)
        people = [person] if person else []
        return dress(upper(self._fill(text, dict(rows), people, fresh=not rows)), self.rng)

    def _fill(self, text: str, rows: dict[str, int], people: list[str], *, fresh: bool) -> str:
        value = {}
        for name, suffix, column in grammar.slots(text):
            value[name, suffix, column] = self._slot(
                name, suffix, column, rows, people, fresh=fresh
            )
        return self._numbers(grammar.substitute(text, value))

    def _slot(  # noqa: PLR0913
        self, name: str, suffix: str, column: int, rows: dict[str, int], people: list[str], *,
        fresh: bool,
    ) -> str:  # fmt: skip
        low = name.lower()
        if name in self.words:
            if name in ("She", "she") and self.rng.random() < 0.2:  # noqa: PLR2004
                return upper(self.patient) if name == "She" else self.patient
            return self.words[name]
        if low == "name":
            return upper(self.patient) if name == "Name" else self.patient
        if name in ("PERSON", "person"):
            if not people or (name == "PERSON" and fresh):
                people.append(self.style["PERSON"].format(n=self.rng.randint(2, 9)))
            return people[-1] if name == "PERSON" else people[0]
        if name in self.style:
            return self.style[name].format(n=self.rng.randint(1, 9))
        if suffix or low not in rows:
            row = self._draw(low)
            if not suffix:
                rows[low] = row
        else:
            row = rows[low]
        spellings = self.rules.lexicon[low][row][column]
        text = self.rng.choice(spellings)
        return upper(text) if name != low else text

    def _draw(self, name: str) -> int:
        """Take a row that no sentence of this document has used, while there are some."""
        used = self.used.setdefault(name, set())
        free = [i for i in range(len(self.rules.lexicon[name])) if i not in used]
        if len(free) < 4:  # noqa: PLR2004 - keep some for questions without an answer
            used.clear()
            free = list(range(len(self.rules.lexicon[name])))
        row = self.rng.choice(free)
        used.add(row)
        return row

    def _numbers(self, text: str) -> str:
        while "<NUM>" in text:
            text = text.replace("<NUM>", str(self.rng.choice((self.rng.randint(1, 12),
                self.rng.randint(10, 99), self.rng.randint(100, 180)))), 1)  # fmt: skip
        if "<DATE_" in text:
            style = self.style["DATE"]
            text = re.sub(r"<DATE_(\d)>", lambda m: style.format(n=m.group(1)), text)
        return re.sub(r"\s+([.,?])", r"\1", re.sub(r" {2,}", " ", text)).strip()


# --- words ---


def upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def words_of(text: str) -> list[str]:
    """Lower-case content words: letters only, three and more, no stop words, no placeholders."""
    bare = re.sub(r"<[A-Z_0-9]+>", " ", text)
    return [w for w in re.findall(r"[a-z][a-z-]{2,}", bare.lower()) if w not in STOP]


def stem(word: str) -> str:
    """Cut the commonest English endings: good enough to see that two words belong together."""
    for ending in ("ing", "ied", "ies", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004
            return word[: -len(ending)]
    return word


def bend(word: str, rng: Random) -> str:
    """Sometimes write a word in another form than the text has."""
    if len(word) > 4 and rng.random() < 0.25:  # noqa: PLR2004
        return stem(word) + rng.choice(("", "s", "ing", "ed"))
    return word


def phrase(text: str, rng: Random) -> list[str]:
    """Some words in a row, function words among them, or every other word of a longer row."""
    words = re.findall(r"[A-Za-z][A-Za-z-]*", re.sub(r"<[A-Z_0-9]+>", " ", text))
    if len(words) < 2:  # noqa: PLR2004
        return []
    size = rng.randint(2, 6)
    start = rng.randrange(max(1, len(words) - size + 1))
    row = words[start : start + size]
    if len(row) > 3 and rng.random() < 0.4:  # noqa: PLR2004
        row = [w for w in row if rng.random() < 0.6]  # noqa: PLR2004
    return [w if w.isupper() else w.lower() for w in row]


def pseudo_word(rng: Random) -> str:
    parts = rng.choices(SYLLABLES, k=3)
    return "".join(parts[: rng.randint(2, 3)])


def dress(text: str, rng: Random, *, lead: bool = True) -> str:
    """Vary how a question stands there: a lead-in, no question mark, lower case."""
    if lead:
        text = rng.choice(LEADS) + text
    draw = rng.random()
    if draw < 0.06:  # noqa: PLR2004
        return text.lower()
    return text.rstrip("?") if draw < 0.12 else text  # noqa: PLR2004


_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z<\"'(])|\n+")


def sentences_of(text: str) -> list[str]:
    """A plain splitter for carrier texts: line ends, and stops before a capital."""
    return [" ".join(s.split()) for s in _SENTENCE.split(text) if s.strip()]


def carriers(path: Path, side: int) -> list[list[str]]:
    """Sentences per carrier note; one note in eight is held out."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    keep = [row for i, row in enumerate(rows) if (i % 8 == 0) == (side == HELD_OUT)]
    return [sentences_of(row["text"]) for row in keep]
