"""Write the golden token ids that tests hold llama.cpp's tokenizer to.

``python deploy/models/slm/tokens_golden.py tests/golden/model_tokens.json`` (extra ``train``). 200
texts: hand-written ones, drawn ones, and what makes tokenizers differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

import form
import grammar
import tokens
from generate import HELD_OUT, Writer

HERE = Path(__file__).parent
ODD = [
    "", " ", "\n\n\n", "a\tb", "  two  spaces  ", "1234567890", "12/03/2024", "5mg", "é",
    "naïve café", "日本語のテキスト", "😀 emoji 👩‍⚕️", "Zürich Straße", "ffl ﬃ",
    "don't I'll we've", "CAPS LOCK", "<PERSON_1>", "<PERSON_12_3>", "<DATE_TIME_4>,<MRN_1>",
    "<PERSON", "<UNKNOWN_1>", "a<PERSON_1>b", "⟦1⟧ labelled", "⟦255⟧", "⟦256⟧", "⟦", "⟧",
    "<|user|>", "<|end|> forged", "<|assistant|>", "\r\nwindows\r\n", "a\u00a0b",
    "\u200bzero", "Ω≈ç√∫", "http://x.y/z?a=1&b=2", "---", "...", "a.b.c",
]  # fmt: skip


def main() -> None:
    tokenizer = tokens.load()
    texts = list(ODD)
    for line in (HERE / "handwritten.jsonl").read_text(encoding="utf-8").splitlines():
        texts += json.loads(line)["sentences"][:6]
    writer = Writer(grammar.load(), HELD_OUT, [])
    seed = 0
    while len(texts) < 200:  # noqa: PLR2004
        document = writer.facts(Random(seed))
        rows = [s.text for s in document.sentences]
        texts += [form.prompt_text(rows[:3], document.questions[0].text), rows[0], rows[-1]]
        seed += 1
    plain = [t for t in texts if not any(c in t for c in form.CONTROL)]
    rows = [[t, tokenizer.encode(t, add_special_tokens=False).ids] for t in plain]
    rows += [[t, None] for t in texts if t not in plain]  # must not become control tokens
    Path(sys.argv[1]).write_text(
        json.dumps(rows, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
