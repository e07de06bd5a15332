"""The form in which the model is trained and decoded (see gateway/engine/embedded/README.md)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from generate import Document, stem

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ABSTENTION = "The text does not say."
SEPARATOR = "\n"
USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
LABEL = "⟦{n}⟧"
LABELS = 255
LINE = "{label} {sentence}\n"
ABSTAIN = LABEL.format(n=0)
CONTEXT = 4096
VOCABULARY = 8192
# Openings of the placeholders that masking writes; each is one token, digits follow.
PIECES = tuple(
    f"<{name}_"
    for name in (
        "PERSON", "DATE_TIME", "DATE", "LOCATION", "ADDRESS", "ORGANIZATION", "ORG", "MRN",
        "MEDICAL_RECORD_NUMBER", "ID", "CASE_NUMBER", "ACCOUNT_NUMBER", "POLICY_NUMBER",
        "PHONE_NUMBER", "PHONE", "EMAIL_ADDRESS", "EMAIL", "US_SSN", "AGE", "URL", "IP_ADDRESS",
        "IBAN_CODE", "CREDIT_CARD", "MEDICAL_LICENSE", "AMOUNT", "SECRET", "NRP", "ZIP_CODE",
        "DEVICE_ID",
    )
)  # fmt: skip
CONTROL = (USER, ASSISTANT, END)
USER_DEFINED = (*(LABEL.format(n=n) for n in range(LABELS + 1)), *PIECES)


def plain(text: str) -> str:
    """Write a sentence or question so that it can forge no label: the form's only escape."""
    return " ".join(text.replace("⟦", "[").replace("⟧", "]").split())


def prompt_text(sentences: Sequence[str], question: str, *, first: int = 1) -> str:
    """The user message: labelled candidates, one a line, then the question."""
    return "".join(line(first + i, s) for i, s in enumerate(sentences)) + plain(question)


def line(number: int, sentence: str) -> str:
    return LINE.format(label=LABEL.format(n=number), sentence=plain(sentence))


class Packer:
    """Turns a document with its questions into token ids; the document is written once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.user, self.assistant, self.end = (tokenizer.token_to_id(t) for t in CONTROL)
        (self.line_end,) = self.encode("\n")
        self.labels = [tokenizer.token_to_id(LABEL.format(n=n)) for n in range(LABELS + 1)]

    def stems(self) -> list[int]:
        """For every token id the smallest id of a token with the same stem, case left aside."""
        first: dict[str, int] = {}
        pieces = [self.tokenizer.decode([n], skip_special_tokens=False) for n in range(VOCABULARY)]
        keys = [stem(piece.strip().lower()) or piece for piece in pieces]
        return [first.setdefault(key, number) for number, key in enumerate(keys)]

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, sentences: Sequence[str], question: str) -> list[int]:
        return [self.user, *self.encode(prompt_text(sentences, question)), self.assistant]

    def pack(self, document: Document, rng: Random) -> Pack:
        """Document and questions in one sequence; every question sees the document and itself.

        Labels start anywhere, so that all of them are trained, and positions have gaps, so that
        long documents are seen (positional skips, Zhu et al. 2023, arXiv:2309.10400).
        """
        count = len(document.sentences)
        first = 1 if rng.random() < 0.5 else rng.randint(1, LABELS + 1 - count)  # noqa: PLR2004
        stretch = rng.choice((0, 0, 20, 60, 120))
        ids, positions, segments = [self.user], [0], [0]
        position = 1
        for i, sentence in enumerate(document.sentences):
            row = self.encode(line(first + i, sentence.text))
            position += rng.randint(0, stretch) if rng.random() < 0.5 else 0  # noqa: PLR2004
            ids += row
            positions += range(position, position + len(row))
            segments += [0] * len(row)
            position += len(row)
        targets = []
        for number, question in enumerate(document.questions, start=1):
            row = [*self.encode(plain(question.text)), self.assistant]
            answer = [self.labels[first + i] for i in question.answer]
            start = len(ids) + len(row) - 1
            wanted = [*answer, self.end] if answer else [self.labels[0]]
            targets += [(start + k, w, k > 0) for k, w in enumerate(wanted)]
            row += answer
            ids += row
            positions += range(position, position + len(row))
            segments += [number] * len(row)
        choices = [self.labels[0], self.end, *(self.labels[first + i] for i in range(count))]
        return Pack(ids, positions, segments, targets, choices)


class Pack:
    """``targets``: (index in ids, token that must follow, whether a sentence was chosen before)."""

    __slots__ = ("choices", "ids", "positions", "segments", "targets")

    def __init__(
        self,
        ids: list[int],
        positions: list[int],
        segments: list[int],
        targets: list[tuple[int, int, bool]],
        choices: list[int],
    ) -> None:
        self.ids = ids
        self.positions = positions
        self.segments = segments
        self.targets = targets
        self.choices = choices
