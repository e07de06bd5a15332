"""The tokenizer: byte-level BPE, single digits, 8,192 pieces. llama.cpp: ``gpt2``, ``smollm``.

Its merges are kept in ``merges.txt``, so that a later change of the grammar does not change the
tokens. ``python tokens.py`` learns them anew from drawn texts and the carrier notes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

import grammar
from form import CONTROL, USER_DEFINED, VOCABULARY
from generate import CORPUS, TRAIN, Writer, carriers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

MERGES = Path(__file__).parent / "merges.txt"
DOCUMENTS = 6000  # drawn to learn the merges from


def build(merges: Iterable[tuple[str, str]]) -> Tokenizer:
    """Ids: the 256 bytes, the merges in order, control tokens, labels and placeholders, padding."""
    merges = list(merges)
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    seen = set(pieces)
    pieces += [a + b for a, b in merges if not (a + b in seen or seen.add(a + b))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = _bare(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in USER_DEFINED])
    short = VOCABULARY - tokenizer.get_vocab_size()
    tokenizer.add_tokens([AddedToken(f"<|unused{n}|>", normalized=False) for n in range(short)])
    return tokenizer


def load(path: Path = MERGES) -> Tokenizer:
    lines = path.read_text(encoding="utf-8").splitlines()
    return build(tuple(line.split(" ")) for line in lines)


def _bare(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def texts(seed: int) -> Iterable[str]:
    writer = Writer(grammar.load(), TRAIN, carriers(CORPUS, TRAIN))
    yield from (sentence for note in writer.carriers for sentence in note)
    rng = Random(f"{seed}-tokenizer")
    for _ in range(DOCUMENTS):
        document = writer.document(rng)
        yield from (s.text for s in document.sentences)
        yield from (q.text for q in document.questions)


def main() -> None:
    """Learn the merges and write them."""
    tokenizer = _bare(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(CONTROL) - len(USER_DEFINED),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts(seed=1), trainer)
    path = MERGES.with_suffix(".json")
    tokenizer.save(str(path))
    write_merges(path)
    path.unlink()


def write_merges(saved: Path, path: Path = MERGES) -> None:
    merges = json.loads(saved.read_text(encoding="utf-8"))["model"]["merges"]
    path.write_text("".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")


if __name__ == "__main__":
    main()
