"""Write ``gateway/pii/tables/zip3_CENSUS.txt``: three-digit ZIP prefixes that may stay.

    python deploy/tables/zip3.py gateway/pii/tables

45 CFR 164.514(b)(2)(i)(B): the first three digits may stay where the area of all ZIP codes that
begin with them holds more than 20,000 people by the current data of the Bureau of the Census. An
allow-list, because a list of what is forbidden lets through what it forgot: a prefix stands in the
table of a census when it is assigned to places where people live and its area is not one of those
at or under 20,000 people in that census.

Sources: the restricted prefixes of 2000 and 2010 are those that the guidance of HHS and the HIPAA
literature list; those of 2020 were derived from the census' ZIP code tabulation areas and are not
published by an authority: check them before you rely on them alone (the gateway asks for 2010 and
2020 both). Assigned prefixes are the postal service's; left out are those of the military, of
single agencies and of post-office boxes only, and those not in use.
"""

from __future__ import annotations

import sys
from pathlib import Path

RESTRICTED = {
    "2000": "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893",
    "2010": "036 059 102 203 205 369 556 692 821 823 878 879 884 893",
    "2020": "036 059 102 202 203 204 205 369 556 692 753 772 821 823 878 879 884 893",
}
ASSIGNED = """
    006-009 010-027 028-029 030-038 039-049 050-059 060-069 070-089 100-149 150-196 197-199 200-201
    206-219 220-246 247-268 270-289 290-299 300-319 320-339 341-349 350-369 370-385 386-397 398
    400-427 430-458 460-479 480-499 500-528 530-549 550-567 570-577 580-588 590-599 600-629 630-658
    660-679 680-693 700-714 716-729 730-749 750-799 800-816 820-838 840-847 850-865 870-884 890-898
    900-961 967-979 980-999
"""
NOT_PEOPLE = """
    055 192 213 311 332 343 345 348 353 375 419 509 517 518 519 533 536 552 555 621 632 642 643 649
    663 682 702 709 715 732 733 742 771 839 848 849 854 858 861 862 872 876 885 889 892 896 901 909
    929 938 942 987
"""


def prefixes(text: str) -> set[str]:
    """The prefixes of a list of prefixes and ranges of them."""
    found = set()
    for part in text.split():
        low, _, high = part.partition("-")
        found |= {f"{number:03}" for number in range(int(low), int(high or low) + 1)}
    return found


def main(folder: str) -> None:
    """Write one table a census."""
    people = prefixes(ASSIGNED) - prefixes(NOT_PEOPLE)
    for census, restricted in RESTRICTED.items():
        allowed = sorted(people - prefixes(restricted))
        title = f"# Three-digit ZIP prefixes of more than 20,000 people, census {census}."
        text = "\n".join([title, *allowed]) + "\n"
        Path(folder, f"zip3_{census}.txt").write_text(text, encoding="utf-8")
        print(f"{census}: {len(allowed)} prefixes")


if __name__ == "__main__":
    main(*sys.argv[1:])
