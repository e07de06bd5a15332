"""Write ``gateway/pii/tables/terms.txt``: terms of medicine, law and computing that name nobody.

    python deploy/tables/terms.py gateway/pii/tables

One line a term, as written; whoever reads it compares folded. Its lines are those of the
generator's ``lexicon/**/term_*.txt`` and of a few lists beside them, all written by hand. Left out
is what could be somebody or somewhere all the same: a term that is a first name, surname or town
of the generator's own lists, of ``ALSO_NAMES`` or an eponym alone (those count beside a head
only), two letters (they are initials), and a number alone.
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
    aas aba abbott abbvie abel abridge ada adair aho aidan aiden aki alan alba alex alexa alexis
    alf ali allegra alma alpine alta amber amin amo ana andrea angel anna april arden ari aria
    aric armour arni art asa ascot ashe ashley ashton asma asp ata athena atlas aud august
    augustus aurora austin avery avi axel aziz baker bari barker barthel bas basel basil baxter
    bayer bea beers belinda bell ben bern bert best bishop bivona blake bob bode boe bohler bond
    bonn bono boost bovie boyd braden bravo brest bridge brook brooks brown burch butler byrd
    caen cal calan calder cali cam camera campbell candido caprini cara caravaggio carlin
    carmelina carol carolina cas casey cea celeste champion chan chance charm chase chen chip
    chips cho christian chur cid clarity clark claude clay cleopatra clio close cola cole colt
    compass cook cooper copernicus cora coral costa crown crystal cyrus dai dale daly dan danish
    das dash dawn day dean deb dee del delorme delta dena dev dey diamond dina dixon django dodd
    doe dora dot drager drew duke duncan duo ebert ed eden edison einstein elan eli ella ellis
    elm elsa elster emerald emery emilia emma emmett ena epic erin esa espen etna eva evans excel
    faith fay faye fisher flint flo flora flow ford foster fourier fox frances frank gal gale
    galileo gao garcia gates gema gemini gemma gene george gerd gil gilead gina gleason glen
    gloria gold golden grace grant gray green griffin griffith guo gus gusto guy hal hale hall
    ham hank harmony harris harrison hart harvey heather hector helen hera hill holly hong hope
    horn horos hugo hunter hus ian ida ide ina ipsen ira iris ishak iva ivy jade jasmine jay jean
    jeb jess jha jill jim jin job jodi joe jon jones joy joyce jude judy julian juliet juluca jun
    june jung juno jupiter kafka kai kane kang karl kat katherine kay keith ken kent khan kiel
    kim king kit kline knight kris kwan lad lal lam lamb lance lane lapidus lassa lau laura
    laurel lea lee len lens leo leon leona leopold les lexis lia liberty lien lille lilly lily
    lima lin lincoln lind lisa liu liz lois lola london long lopez lott lou love lucas lucent
    lugo luke luna lundbeck luo lux lyle lyme lynn lyra mac macy madison mae mai maia mako mal
    man mandy mani mar marina mario marion mark marsh martin mason mat max may maya mayo mckeown
    meg mel melody merck mercy merida merino merlin mesa mia miles mills min mina mint mir mira
    mirena miro misha mistral moe mona monarch montana moore mor mora morgan moss murano myles
    nan nancy nash nasr nat natalee ned nelson ngo nia nice nina nissen noah noel nora norma
    norton novo oda olive oliver olympia omar opal ora orion osa oscar otsuka oura owen page pal
    paloma pam pan paola paris park parker pat patience patton pau paz pearl peck peg pei penn
    perseus pete petra pham phan philips phoenix pia pierce pilar piper pisa poe polo pope porter
    powell prima prince pringle prosper quest quick quinn rae raf rai ralph ram ramon ran rand
    rao ras rastelli raven ravi ray rea reed reese reg regina reha reid rene rex reza rezum ria
    rice rich rico rio rob robbins robin roche rocket rod roma roman ron roni ros rosa rose ross
    roy roz rua ruby rush russell ruth rutherford sade sage said sal sally sam san sandoz sanford
    santos sara savella scott selena sen seo serena servier shea shelby shen shi shiley sia sid
    siena sienna silva sim simon sin sion siu sky skye skyla smart snodgrass sol son sonata song
    sophie soto spa spartan spencer stark stella sterling stewart stone stryker sue sullivan
    summer sun sutton sydney syed sylvia tad takeda tam tan tang tara taylor tea ted teresa terra
    terry tess teva thales theo tia tim titan tod todd toledo tom tori tours tracy tran tristan
    troy tse tyler ulm uma una uri urs ute val van vanderbilt vega venus vera verona vic victor
    victoria vigo vin viola violet virginia vision vista wade walker wall walsh wan wang ward
    warren webb wells wen wes west white will winter wong woo wood woods xie yale yan yang yasmin
    yaz yen yoo york young yu zac zaki zara zelle zen zeta zhao zhu zimmer zoe zug
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
    eponyms = Path(sys.argv[1], "eponyms.txt").read_text(encoding="utf-8").split("\n")
    somebody.update(folded(line) for line in eponyms if line)
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
