"""The card of the model as it is written: ``export.py`` and ``calibrate.py`` fill it in."""

from __future__ import annotations

FILE = "cloister-ner.bin"
CARD = """# What the tagger has to know of its model. Read CARD.md for what it is and is not.
name = "cloister-ner"
file = "{file}"
sha256 = "{sha256}"
license = "Apache-2.0"

[decoding]
low = {low}    # tokens at least this likely to be part of an identifier are found
sure = {sure}  # and kept apart from those at least this likely
alone = {alone}  # where none is sure, one has to be this likely

# The score of a span is a probability: slope and offset are applied to the logit of the mean
# over its tokens. Spans that score less than the floor are not reported.
[labels]
{labels}
"""


LOW, SURE, ALONE = 0.07, 0.4, 0.2
FLOOR = 0.05


def written(sha256: str, curves: dict[str, tuple[float, float, float]]) -> str:
    """The card; ``curves``: slope, offset and floor of each label."""
    lines = [
        f"{label} = {{ slope = {a:.3f}, offset = {b:.3f}, floor = {c:.2f} }}"
        for label, (a, b, c) in curves.items()
    ]
    return CARD.format(
        file=FILE, sha256=sha256, low=LOW, sure=SURE, alone=ALONE, labels="\n".join(lines)
    )
