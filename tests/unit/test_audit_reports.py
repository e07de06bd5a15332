"""``auditlog report``: what each page says of a made log; that it holds nothing hostile."""

from __future__ import annotations

import json
import resource
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from cryptography.hazmat.primitives import serialization as s
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from audit.cli import app
from audit.record import Entry, Header, Part, build, canonical
from audit.reports.breach import deadlines
from audit.reports.facts import MALFORMED, MOST_NAMES, OTHERS, Facts, Period, gather
from audit.reports.gaps import Watcher
from audit.reports.plots import Columns, bars, columns
from audit.reports.render import Kind, over_time, render
from audit.verify import Code, Item, OpenIntent, Report
from tests.auditkit import make_home, rid

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
VERDICT = Report(Code.UNANCHORED, "Consistent but unanchored.", "demo.log", 3, 3, "ab" * 32)
DENIED = {
    "role": "lawyer",
    "purpose": "litigation",
    "decision": "denied",
    "attempt": 1,
    "rules": ["gdpr/special"],
    "entities": {"PERSON": "5+"},
}


class Page(HTMLParser):
    """Tags, attributes and text of a page; each tag that must be closed is."""

    VOID = frozenset({"meta", "rect", "line", "path", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.stack: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.words += data
        if self.stack and self.stack[-1] in ("td", "th"):
            self.rows[-1][-1] += data.strip("\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log of two days: a request answered, one denied, one never closed; breaches of habit."""
    folder = tmp_path_factory.mktemp("reports")
    home = make_home(folder / "home", demo=True)
    allowed = {**DENIED, "role": "clinician", "purpose": "treatment", "decision": "allowed"}
    sealed = {"principal": "ward-7", "matter": "M-1", "subject": "s-1", "model": "m", "zone": "z"}
    spent = {"energy": {"millijoules": 2500, "co2e_ug": 40}, "tokens": {"prompt": 3}}
    with home.ledger() as ledger:
        ledger.submit(Entry("boot", features={"version": "0.1.0"})).result()
        ledger.submit(Entry("intent", rid(1), allowed, sealed)).result()
        ledger.submit(Entry("intent", rid(1), {**allowed, "attempt": 2}, sealed)).result()
        ledger.submit(Entry("outcome", rid(1), {"finish": "stop"}, spent)).result()
        ledger.submit(Entry("break-glass.opened", features={"role": "clinician"})).result()
        ledger.submit(Entry("intent", rid(3), allowed, sealed)).result()
    home.clock.forward(hours=30)
    with home.ledger() as ledger:
        ledger.submit(Entry("boot", features={"version": "0.1.0"})).result()
        ledger.submit(Entry("intent", rid(2), DENIED, {"principal": "desk-2"})).result()
        ledger.submit(Entry("outcome", rid(2), {"error": "policy_denied"})).result()
        ledger.submit(Entry("auth.failures", features={"count": "2-4"})).result()
    pem = home.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "auditor.pem").write_bytes(pem)
    (folder / "kept.txt").write_text(run("checkpoint", folder / "home").stdout, "utf-8")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def keys(place):
    return ("--key", place / "auditor.pem", "--keystore", place / "home" / "keystore.db")


def page(place, tmp_path, kind, *more):
    done = run("report", kind, place / "home", "--out", tmp_path / "page.html", *more)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "page.html").read_text("utf-8")
    return text, Page(text)


@pytest.mark.parametrize("kind", list(Kind))
def test_each_report_is_one_file_that_asks_for_nothing(place, tmp_path, kind):
    """No script, no link, no address; the log, the period and the checkpoint head every page."""
    text, read = page(place, tmp_path, kind, *keys(place), "--checkpoint", place / "kept.txt")
    assert not {"script", "link", "img", "iframe", "object"} & set(read.tags)
    assert not {"src", "href", "srcset"} & {name for name, _ in read.attributes}
    assert "url(" not in text.replace("url(#p", "")
    assert "DEMO" in read.words
    assert "first 10 records anchored to a kept checkpoint" in read.words
    assert "table-header-group" in text  # the head is repeated on each page of a print
    assert "What this is evidence of" in read.words
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600


def test_activity_counts_requests_once_and_needs_no_key(place, tmp_path):
    """Attempts are not requests; denials name their rule, refusals their code."""
    _, read = page(place, tmp_path, "activity")
    assert ["2026-03-01", "2", "0"] in read.rows
    assert ["2026-03-02", "0", "1"] in read.rows
    assert ["PERSON", "15 or more", "3"] in read.rows
    assert ["gdpr/special", "1"] in read.rows
    assert ["policy_denied", "1"] in read.rows
    assert ["break-glass.opened", "1"] in read.rows
    assert "UNANCHORED" in read.words
    assert "ward-7" not in read.words
    assert read.tags.count("svg") == 5


def test_every_plot_has_a_name_and_a_table(place, tmp_path):
    """What a plot shows can be read without seeing it."""
    _, read = page(place, tmp_path, "activity", *keys(place))
    names = [value for name, value in read.attributes if name == "aria-label"]
    assert len(names) == read.tags.count("svg") == 6
    assert read.tags.count("caption") >= len(names)


def test_the_access_report_names_who_and_when(place, tmp_path):
    """With keys: principal, matter, exact time; without them there is no such report."""
    _, read = page(place, tmp_path, "access", *keys(place))
    assert ["ward-7", "M-1", "2"] in read.rows
    assert ["desk-2", "-", "1"] in read.rows
    assert any("2026-03-01T09:30:15.000+00:00" in row for row in read.rows)
    done = run("report", "access", place / "home", "--out", tmp_path / "none.html")
    assert done.exit_code == 2
    assert "needs --key and --keystore" in done.stderr
    assert not (tmp_path / "none.html").exists()


def test_energy_is_told_with_keys_only(place, tmp_path):
    """It stands in the sealed part."""
    assert "2.5 J" in page(place, tmp_path, "activity", *keys(place))[1].words
    (tmp_path / "page.html").unlink()
    assert "2.5 J" not in page(place, tmp_path, "activity")[1].words


def test_breach_counts_from_the_discovery_and_says_what_it_cannot_tell(place, tmp_path):
    """Each deadline with its clause; without a discovery no date at all."""
    _, read = page(place, tmp_path, "breach", "--discovered", "2026-03-02T23:30-05:00")
    found = {row[2]: row[1] for row in read.rows if len(row) == 4}
    assert found["GDPR 33(1)"] == "2026-03-06 04:30 UTC"
    assert found["45 CFR 164.404(b)"] == "2026-05-02"
    assert found["45 CFR 164.408(c)"] == "2027-03-01"
    assert "What the log cannot tell" in read.words
    (tmp_path / "page.html").unlink()
    assert "2026-05-02" not in page(place, tmp_path, "breach")[1].words


def test_drafts_mark_what_people_fill_in(place, tmp_path):
    """A record of processing and an assessment hold facts, and places for what no log knows."""
    for kind, clause in (("ropa", "Art. 30(1)"), ("dpia", "Art. 35(7)")):
        text, read = page(place, tmp_path, kind)
        assert clause in read.words
        assert text.count('class="human"') >= 3
        assert ["treatment", "2"] in read.rows or ["clinician", "2"] in read.rows
        (tmp_path / "page.html").unlink()


def test_gaps_finds_each_kind(place, tmp_path):
    """The open intent, the silence, the failed authentication; and what none of them shows."""
    _, read = page(place, tmp_path, "gaps")
    assert any(rid(3) in row and "crashed" in row for row in read.rows)
    assert any("no record since 2026-03-01T09:30Z" in row for row in read.rows)
    assert any("auth.failures, count 2-4" in row for row in read.rows)


def test_a_period_cuts_and_json_tells_the_same(place, tmp_path):
    """From is in, to is out."""
    done = run(
        "report", "activity", place / "home", "--out", tmp_path / "a.html",
        "--from", "2026-03-02", "--to", "2026-03-03", "-o", "json",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["requests"], told["denied"], told["records"]) == (1, 1, 4)
    assert told["verdict"] == "unanchored"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("novel", "."), "the report is one of"),
        (("gaps", ".", "--key", "k"), "given together"),
        (("gaps", ".", "--from", "yesterday"), "a day or a minute"),
        (("breach", ".", "--discovered", "2026-03-01T10:00"), "time zone"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, arguments, words):
    """Exit code 2, nothing written."""
    done = run("report", *arguments, "--out", tmp_path / "x.html")
    assert (done.exit_code, words in done.stderr) == (2, True)
    assert not (tmp_path / "x.html").exists()


def test_a_log_that_does_not_verify_says_so_and_fails(place, tmp_path):
    """The page is written, its verdict on top, and the exit code is 1."""
    import sqlite3  # noqa: PLC0415
    from shutil import copytree  # noqa: PLC0415

    copytree(place / "home", tmp_path / "home")
    with sqlite3.connect(tmp_path / "home" / "ledger.db") as connection:
        connection.execute("UPDATE records SET leaf = zeroblob(32) WHERE idx = 2")
    connection.close()
    done = run("report", "gaps", tmp_path / "home", "--out", tmp_path / "x.html")
    assert done.exit_code == 1
    assert "NOT VERIFIED: tampered" in (tmp_path / "x.html").read_text("utf-8")


def test_an_empty_log_has_its_report(tmp_path):
    """Nothing was recorded: no plot, no division by it; the missing checkpoint is a verdict."""
    make_home(tmp_path / "home")
    for kind in ("activity", "breach", "ropa", "dpia", "gaps"):
        done = run("report", kind, tmp_path / "home", "--out", tmp_path / f"{kind}.html")
        assert done.exit_code == 1
        text = (tmp_path / f"{kind}.html").read_text("utf-8")
        assert "<svg" not in text
        assert "NOT VERIFIED: missing" in text


# --- hostile logs -----------------------------------------------------------------------------


def body(number: int, event: str = "intent", minute: str = "", **features: object) -> bytes:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    header = Header(
        origin="log", boot="0" * 32, seq=number + 1, event=event, rid=rid(number),
        minute=minute or moment.strftime("%Y-%m-%dT%H:%MZ"), expires="2032-01", key="0" * 32,
        features=features,
    )  # fmt: skip
    return build(canonical(header), [Part("meta", b"x", ())])


def pages(facts: Facts, watcher: Watcher, verdict: Report = VERDICT) -> Iterator[Page]:
    for kind in Kind:
        yield Page(render(kind, facts=facts, verdict=verdict, watcher=watcher, made="2026"))


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60) | st.just(HOSTILE))
def test_a_hostile_value_is_text_or_counted_as_out_of_shape(value):
    """Whatever a record or the log's name holds: the tags of a page are those of our templates."""
    watcher, facts = Watcher(), Facts(Period(), keys=True)
    for counter in (facts.purposes, facts.roles, facts.events, facts.entities, facts.errors):
        counter[value] = 3
    facts.entity_least[value] = 3
    facts.by_day["2026-01-01", value] = 3
    facts.by_principal[value, value] = 2
    facts.models[value, value] = facts.digests[value, value] = 1
    facts.break_glass[value] = facts.denied_rules[value] = 1
    watcher.failures.add(1, value, value)
    intents = (OpenIntent(0, value, value, value),)
    verdict = Report(Code.TAMPERED, value, value, 3, 3, value, open_intents=intents)
    for read in pages(facts, watcher, verdict):
        assert not {"script", "img"} & set(read.tags)
        assert "onerror" not in dict(read.attributes)


def test_features_out_of_shape_are_counted_as_that():
    """A reader does not rely on the writer: values of no known shape never become names."""
    bodies = [body(0, role=HOSTILE, purpose=[], rules=7, entities={HOSTILE: "1"}, digests=3)]
    bodies.append(body(1, "outcome", error={"a": HOSTILE}, stages={"a": HOSTILE}))
    items = [Item(i, found) for i, found in enumerate(bodies)]
    watcher = Watcher()
    facts = gather(items, watcher, Period())
    assert facts.roles == facts.purposes == facts.errors == {MALFORMED: 1}
    assert not facts.entities
    assert not facts.stages_failed
    assert all("alert(1)" not in read.words for read in pages(facts, watcher))


def test_minutes_that_no_calendar_has_are_no_crash():
    """The shape of a minute is checked where it is read; its day may not exist."""
    items = [Item(0, body(0)), Item(1, body(1, minute="2026-02-31T09:00Z"))]
    watcher = Watcher()
    facts = gather(items, watcher, Period())
    assert facts.requests == 2
    assert all(read.words for read in pages(facts, watcher))


def test_names_are_bounded():
    """A log with a new rule for each request costs no more memory than one with a few hundred."""
    items = [Item(i, body(i, decision="denied", rules=[f"p/r{i}"], attempt=1)) for i in range(1000)]
    facts = gather(items, Watcher(), Period())
    assert len(facts.denied_rules) == MOST_NAMES + 1
    assert facts.denied_rules[OTHERS] == 1000 - MOST_NAMES


# --- parts ------------------------------------------------------------------------------------


def test_holes_in_numbering_and_long_stretches_are_found():
    """Numbers are per process; a stretch ends with its checkpoint."""
    watcher = Watcher(heads=[2, 4])
    for index, (seq, minute) in enumerate(
        [(1, "T09:00Z"), (4, "T09:30Z"), (5, "T09:31Z"), (6, "T10:31Z"), (7, "T08:00Z")]
    ):
        header = Header("log", "0" * 32, seq, "intent", None, "2026-01-01" + minute, "2032-01", "")
        watcher.see(index, header)
    assert [place.index for place in watcher.sequence.places] == [1]
    assert "2 missing before number 4" in watcher.sequence.places[0].words
    assert [place.index for place in watcher.unsigned.places] == [3]
    assert [place.index for place in watcher.backwards.places] == [4]
    assert watcher.unstarted.count == 1
    assert watcher.uncovered == 1


@given(
    st.dictionaries(
        st.tuples(st.dates().map(lambda day: day.isoformat()), st.sampled_from("abcdefghijkl")),
        st.integers(1, 10**9),
        max_size=40,
    )
)
def test_columns_lose_no_request(counted):
    """However long the period and however many the purposes: the columns add up to all of it."""
    from collections import Counter  # noqa: PLC0415

    data = over_time(Counter(counted))
    assert sum(map(sum, data.series.values())) == sum(counted.values())
    assert len(data.times) <= 240 or data.unit == "month with requests"
    assert columns("title", data).startswith("<svg" if counted else "")


def test_nothing_to_plot_is_no_plot():
    assert not bars("none", [])
    assert not columns("none", Columns(["2026"], {"a": [0]}, "day"))


def test_the_year_of_the_discovery_decides_the_yearly_list():
    """45 CFR 164.408(c): sixty days after the end of that year, in a leap year the 29th."""
    told = {d.clause: d.latest for d in deadlines(datetime(2027, 12, 31, 23, 59, tzinfo=UTC))}
    assert told["45 CFR 164.408(c)"] == "2028-02-29"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_records_are_counted_in_flat_memory():
    """The second half of a million records needs no more memory than the first did."""
    made = [body(i, purpose="treatment", attempt=1, entities={"PERSON": "1"}) for i in range(500)]

    def items(count: int) -> Iterator[Item]:
        for index in range(count):
            yield Item(index, made[index % len(made)])

    gather(items(1000), Watcher(), Period())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = gather(items(1_000_000), Watcher(), Period())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert facts.requests == 1_000_000
    assert after - before < 16 * 1024  # KiB
