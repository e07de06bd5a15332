"""Write ``gateway/pii/tables/terms.txt``: terms of medicine, law and computing that name nobody.

    python deploy/tables/terms.py gateway/pii/tables

One line a term, as written; whoever reads it compares folded. Its lines are those of the
generator's ``lexicon/**/term_*.txt`` and of a few lists beside them, all written by hand. Left out
is what could be somebody or somewhere all the same: a term that is a first name, surname or town
of the generator's own lists or of ``ALSO_NAMES``, two letters (they are initials), and a
number alone. Eponyms are a table of their own, because they count beside a head only.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path

LEXICON = Path(__file__).parents[1] / "models" / "ner" / "generate" / "lexicon"
OTHERS = ("drug", "gene", "organism", "device_maker", "en/labname", "en/scorename")
NOT_HERE = ("term_eponym", "term_heading", "term_pleading")
PLACES = ("city", "world_city", "country", "state", "place_word", "hood_real", "legal_city")
ALSO_NAMES = """
    abbott abbvie abridge adair ada aidan aiden alba alex alexa alexis alma alpine alta amber
    andrea angel april arden aria armour art ascot ashe ashley ashton atlas august aurora austin
    avery axel baker barker basil baxter beers belinda bell best blake bishop bond bono boost
    bovie boyd brook brooks brown butler byrd calan calder cam camera campbell carlin carmelina
    carol carolina casey celeste chan chance charm chase chen chip chips cho christian clarity
    clark claude clay cleopatra clio close cole colt compass cook cooper coral cora costa crown
    crystal cyrus dale daly dash dawn day dean delta diamond dixon dodd drew duke duncan edison
    elan ella ellis elm emerald emery emilia emmett epic erin etna eva evans excel faith faye
    fisher flint flora flow ford foster fox frances frank gale galileo garcia gates gemini gemma
    george gilead gina glen gloria gold golden grace grant gray green griffin griffith gusto hale
    hall harmony harris harrison hart harvey hector heather helen hera hill holly hope horn
    hunter ida ian iris ivy jade jasmine jean jess jill jones joy joyce jude judy juliet julian
    juluca june juno jupiter kane karl katherine kay keith ken kent kim king kit kline knight
    kris lamb lance lane laura laurel lee leo leona liberty lille lily lima lincoln lind lisa
    lois lola london long lopez love lucas lucent luke luna lyle lynn lyra mac macy madison maia
    mandy marina marion mario mark marsh martin mason max may maya mel melody mercy merlin merck
    mesa mia miles mills mina mint mira mirena miro misha mona monarch montana moore mora morgan
    moss myles nancy nash nelson nice nina noah noel nora norma novo olive oliver olympia omar
    opal orion oscar owen page paloma paola paris park parker pat patience patton pearl peck penn
    perseus petra philips phoenix pia pierce pilar piper poe polo pope porter powell prince quest
    quinn rae ralph ramon ran rand raven ray reese reed regina reid rene rex rice rich rio rob
    robin rocket roma roman ron rosa rose ross roy ruby rush russell ruth sage sal sally sam
    sanford santos sara savella scott selena serena shelby sienna siena silva simon sky skye
    skyla smart sol sonata sophie soto spencer stark stella sterling stewart stone stryker sue
    sullivan summer sutton sydney sylvia tara taylor teresa terra terry tess theo tim titan todd
    tom tracy tristan troy tyler vega venus vera verona vic victor victoria violet viola virginia
    vision vista wade walker wall walsh ward warren webb wells west white will winter wood woods
    yasmin yaz york young zara zeta zoe zimmer abel alan anna ana ali bea ben bert bob cal cara
    cid dan deb dee del dina dora ed eli elsa emma fay flo gene gil gus guy hal ham hank hugo ira
    jay jeb jim job joe jon jun kai kat lea len les lia lin liz lou lux mae mai mal man meg min
    mor nan nat ned nia oda ora pam paz peg pete ravi reg ria rod roz rua sade san sid siu son
    sun tad tam tan ted tia tod uma una val van vin wan wes yan yen yu zac zen gao guo hong jin
    jung kang kwan lam lau liu luo moe ngo pan pei pham phan seo shen shi sim sin song tang tran
    tse wang wen wong woo xie yang yoo zhao zhu dai das dev dey sen rao pal jha mani amin aziz
    khan mir nasr reza said syed zaki
"""


def folded(text: str) -> str:
    flat = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in flat if not unicodedata.combining(c))


def names() -> set[str]:
    """Every word of the generator's lists of names and places, folded."""
    found = set(ALSO_NAMES.split())
    for path in (LEXICON / "names").glob("*.txt"):
        for line in path.read_text(encoding="utf-8").split("\n"):
            found.update(folded(line.partition(":")[2] or line).split())
    for stem in PLACES:
        for path in LEXICON.rglob(f"{stem}.txt"):
            found.update(folded(line) for line in path.read_text(encoding="utf-8").split("\n"))
    return found


def may_stand(term: str, somebody: set[str]) -> bool:
    """Whether a term names nobody and is long enough not to be initials."""
    letters = re.sub(r"[\W_]", "", folded(term))
    return (
        len(letters) >= 3  # noqa: PLR2004 (two letters are initials)
        and not letters.isdigit()
        and folded(term) not in somebody
    )


def main() -> None:
    somebody, seen, kept = names(), set[str](), list[str]()
    paths = sorted(p for p in LEXICON.rglob("term_*.txt") if p.stem not in NOT_HERE)
    for path in [*paths, *(LEXICON / f"{stem}.txt" for stem in OTHERS)]:
        for line in path.read_text(encoding="utf-8").split("\n"):
            term = " ".join(line.split())
            if term and not term.startswith("#") and folded(term) not in seen:
                seen.add(folded(term))
                if may_stand(term, somebody):
                    kept.append(term)
    kept.sort(key=lambda term: (folded(term), term))
    Path(sys.argv[1], "terms.txt").write_text("\n".join(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
