"""``python -m deploy.models.ner.generate``: samples to read, or a check of the template files."""

from __future__ import annotations

import argparse
import json
import sys
import time

from deploy.models.ner.generate.corpus import Example, check, examples

COLOURS = {"PERSON": 33, "LOCATION": 32, "ORGANIZATION": 35, "DATE_TIME": 36, "AGE": 36}
WEAK_COLOUR = 90
OTHER_COLOUR = 31


def coloured(example: Example, plain: bool) -> str:
    made, last = [], 0
    for s in example.spans:
        value = example.text[s.start : s.end]
        shade = COLOURS.get(s.label, OTHER_COLOUR)
        mark = (
            f"[{value}|{s.label}]"
            if plain
            else f"\x1b[{shade};1m{value}\x1b[0m\x1b[{WEAK_COLOUR}m{s.label}\x1b[0m"
        )
        made += [example.text[last : s.start], mark]
        last = s.end
    return "".join(made) + example.text[last:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--lang", action="append")
    parser.add_argument("--file", action="append")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--calm", action="store_true", help="without noise")
    parser.add_argument("--plain", action="store_true", help="marks instead of colours")
    parser.add_argument("--jsonl", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    if args.check:
        bad = check()
        print("\n".join(bad) or "every name is defined")
        sys.exit(bool(bad))
    begun, clean, chars = time.process_time(), 0, 0
    stream = examples(
        args.seed, args.count, args.held_out, langs=args.lang or ("en", "es", "fr", "de"), files=args.file or (), noisy=not args.calm
    )  # fmt: skip
    for example in stream:
        clean, chars = clean + example.clean, chars + len(example.text)
        if args.jsonl:
            spans = [[s.start, s.end, s.label] for s in example.spans]
            print(
                json.dumps(
                    {"text": example.text, "spans": spans, "lang": example.lang}, ensure_ascii=False
                )
            )
        elif not args.speed:
            print(
                f"--- {example.file}{' (clean)' if example.clean else ''}\n{coloured(example, args.plain)}"
            )
    if args.speed:
        seconds = time.process_time() - begun
        print(
            f"{args.count / seconds:.0f} examples/s, {chars / args.count:.0f} characters each, {clean / args.count:.1%} clean"
        )


if __name__ == "__main__":
    main()
