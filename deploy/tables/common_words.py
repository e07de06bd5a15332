"""Write ``gateway/pii/tables/common_words.txt``: words that people write in lower case.

    python deploy/tables/common_words.py ../shared/corpora gateway/pii/tables/common_words.txt

A name that is one of them ("Will", "Rose", "Young") is looked for with more care. The words are
counted in the training parts of the shared corpora, outside what is marked in them; tweets, whose
writers spare capitals, count less. Deterministic: the same corpora give the same file.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

EDITED = ("aci-bench-notes", "tab144", "wikigold", "sec-filings", "meddocan")
TWEETS = ("wnut17", "btc")
MEASURED = frozenset({"dev", "valid", "test"})
ENOUGH = 2  # times in edited text
ENOUGH_IN_TWEETS = 8
NAMES_TOO = "names_that_are_words.txt"  # beside this file: a corpus of this size may lack them
_WORD = re.compile(r"[^\W\d_]{2,}")


def count(folder: Path, names: tuple[str, ...]) -> Counter[str]:
    """How often each word stands in lower case outside the marks of these corpora."""
    found: Counter[str] = Counter()
    for name in names:
        for line in (folder / f"{name}.jsonl").open(encoding="utf-8"):
            row = json.loads(line)
            if row["split"] in MEASURED:
                continue
            marked = {i for start, end, *_ in row["spans"] for i in range(start, end)}
            found.update(
                match[0]
                for match in _WORD.finditer(row["text"])
                if match[0].islower() and match.start() not in marked
            )
    return found


def main(folder: str, target: str) -> None:
    """Count and write, one word a line, sorted."""
    edited, tweets = count(Path(folder), EDITED), count(Path(folder), TWEETS)
    words = {word for word, times in edited.items() if times >= ENOUGH}
    words |= {word for word, times in tweets.items() if times >= ENOUGH_IN_TWEETS}
    words |= set(Path(__file__).with_name(NAMES_TOO).read_text(encoding="utf-8").split())
    Path(target).write_text("".join(f"{word}\n" for word in sorted(words)), encoding="utf-8")
    print(f"{len(words)} words")


if __name__ == "__main__":
    main(*sys.argv[1:])
