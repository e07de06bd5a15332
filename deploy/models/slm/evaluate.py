"""Measure the GGUF that ships, decoded as the engine decodes it.

``python deploy/models/slm/evaluate.py`` prints two tables: questions written by hand, and documents
drawn from templates that training never saw. A hit is an answer that contains a sentence a reader
would pick; an answer may hold several, so their mean number stands beside it. Each row is also
answered by word overlap (rare words count more; no overlap abstains) and by chance.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import form
import grammar
import llama_cpp
import numpy as np
from generate import HELD_OUT, Writer, stem, words_of

HERE = Path(__file__).parent
BUNDLED = HERE.parents[2] / "gateway" / "engine" / "embedded" / "cloister-extract.gguf"
Answerer = Callable[[Sequence[str], str], list[int]]  # sentences, question -> indices


@dataclass(frozen=True, slots=True)
class Case:
    sentences: tuple[str, ...]
    question: str
    pick: tuple[int, ...]  # any of them is right; empty: the text does not say
    domain: str


class Quoter:
    """The model behind llama.cpp, choosing labels greedily among those allowed."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.model = llama_cpp.Llama(
            str(path), n_ctx=form.CONTEXT, n_batch=form.CONTEXT, n_threads=threads,
            n_threads_batch=threads, verbose=False,
        )  # fmt: skip
        self.user, self.assistant, self.end = (self._one(t, special=True) for t in form.CONTROL)
        self.labels = [self._one(form.LABEL.format(n=n)) for n in range(form.LABELS + 1)]

    def _one(self, text: str, *, special: bool = False) -> int:
        (token,) = self.model.tokenize(text.encode(), add_bos=False, special=special)
        return int(token)

    def tokens(self, sentences: Sequence[str], question: str) -> list[int]:
        text = form.prompt_text(sentences, question)
        ids = self.model.tokenize(text.encode(), add_bos=False, special=False)
        return [self.user, *ids, self.assistant]

    def _next(self, tokens: Sequence[int], allowed: Sequence[int]) -> int:
        self.model.eval(tokens)
        row = llama_cpp.llama_get_logits_ith(self.model.ctx, -1)
        logits = np.ctypeslib.as_array(row, (self.model.n_vocab(),))
        return max(allowed, key=lambda token: float(logits[token]))

    def __call__(self, sentences: Sequence[str], question: str) -> list[int]:
        self.model.reset()
        labels = self.labels[1 : len(sentences) + 1]
        token = self._next(self.tokens(sentences, question), [self.labels[0], *labels])
        answer: list[int] = []
        while token in labels:
            answer.append(labels.index(token))
            token = self._next([token], [self.end, *labels[answer[-1] + 1 :]])
        return answer


def overlap(sentences: Sequence[str], question: str) -> list[int]:
    """Pick the sentence that shares the rarest stems with the question."""
    bags = [{stem(w) for w in words_of(s)} for s in sentences]
    seen = Counter(w for bag in bags for w in bag)
    asked = {stem(w) for w in words_of(question)}
    scores = [sum(math.log(1 + len(bags) / seen[w]) for w in asked & bag) for bag in bags]
    best = max(scores, default=0.0)
    return [scores.index(best)] if best > 0 else []


def chance(seed: int) -> Answerer:
    rng = Random(seed)
    return lambda sentences, _: [rng.randrange(len(sentences))] if rng.random() < 0.8 else []  # noqa: PLR2004


def handwritten(path: Path = HERE / "handwritten.jsonl") -> list[Case]:
    cases = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        cases += [
            Case(tuple(row["sentences"]), q["question"], tuple(q["pick"]), row["domain"])
            for q in row["questions"]
        ]
    return cases


def held_out(documents: int, seed: int) -> list[Case]:
    """Sentences and questions both from templates that were held out."""
    writer = Writer(grammar.load(), HELD_OUT, [])
    cases = []
    for n in range(documents):
        document = writer.facts(Random(f"{seed}-held-out-{n}"))
        texts = tuple(s.text for s in document.sentences)
        cases += [Case(texts, q.text, q.answer, q.kind) for q in document.questions]
    return [case for case in cases if case.domain == "fact"]


def score(cases: Sequence[Case], answer: Answerer) -> dict[str, float]:
    hits = abstained = quoted = 0
    asked = [c for c in cases if c.pick]
    unanswerable = [c for c in cases if not c.pick]
    for case in asked:
        got = answer(case.sentences, case.question)
        hits += bool(set(got) & set(case.pick))
        quoted += len(got)
    for case in unanswerable:
        abstained += not answer(case.sentences, case.question)
    return {
        "questions": len(asked),
        "hit": hits / max(1, len(asked)),
        "quoted": quoted / max(1, len(asked)),
        "unanswerable": len(unanswerable),
        "abstained": abstained / max(1, len(unanswerable)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, default=BUNDLED)
    parser.add_argument("--documents", type=int, default=60, help="held-out documents to draw")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--misses", action="store_true", help="print the hand-written misses")
    options = parser.parse_args()
    model = Quoter(options.gguf)
    sets = {
        "hand-written": handwritten(),
        "hand-written, clinical": [c for c in handwritten() if c.domain == "clinical"],
        "hand-written, legal": [c for c in handwritten() if c.domain == "legal"],
        "held-out templates": held_out(options.documents, options.seed),
    }
    ways: dict[str, Answerer] = {"model": model, "overlap": overlap, "chance": chance(1)}
    print(
        f"{'set':24}{'way':9}{'asked':>6}{'hit':>7}{'quoted':>8}{'no answer':>11}{'abstained':>11}"
    )
    for name, cases in sets.items():
        for way, answer in ways.items():
            got = score(cases, answer)
            print(
                f"{name:24}{way:9}{got['questions']:6.0f}{got['hit']:7.2f}{got['quoted']:8.2f}"
                f"{got['unanswerable']:11.0f}{got['abstained']:11.2f}"
            )
    for case in sets["hand-written"] if options.misses else []:
        got = model(case.sentences, case.question)
        if bool(set(got) & set(case.pick)) != bool(case.pick):
            print(f"{case.question}  wanted {list(case.pick)} got {got}")


if __name__ == "__main__":
    main()
