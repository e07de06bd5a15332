"""What a record may say in the open, and the canonical bytes of a leaf."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785

from audit.errors import FormatError, RecordError
from audit.record import (
    READABLE,
    Entry,
    Header,
    Part,
    build,
    canonical,
    check_features,
    count_bucket,
    deadline_minute,
    expiry_month,
    minute,
    parse,
    score_band,
)

DIGEST = "ab" * 32
HEADER = Header(
    origin="cloister.local/1",
    boot="0" * 32,
    seq=7,
    event="intent",
    rid="f" * 32,
    minute="2026-03-01T09:30Z",
    expires="2032-03",
    key="1" * 32,
    features={"role": "clinician", "entities": {"PERSON": "2-4"}},
    commits={"prompt": DIGEST},
    deadline="2026-03-01T09:32Z",
)
BODY = build(canonical(HEADER), [Part("meta", b"\x00\x01", (("bb", b"\x02"), ("aa", b"\x03")))])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("role", "clinician"),
        ("purpose", "legal-advice"),
        ("decision", "denied"),
        ("entities", {"PERSON": "5+", "US_SSN": "0"}),
        ("scores", {"PERSON": "high"}),
        ("rules", ["hipaa.names", "gdpr/art-9(1)"]),
        ("rules", [f"{'a' * 63}/{'b' * 63}"]),  # the longest names that a policy may have
        ("digests", {f"policy:{'a' * 63}": DIGEST}),
        ("stages", {"medical": "failed"}),
        ("status", 503),
        ("error", "ledger_unavailable"),
        ("finish", "tool_calls"),
        ("isolation", "seccomp+landlock"),
        ("digests", {"policy:hipaa": DIGEST, "detector": DIGEST, "model": DIGEST}),
        ("restore", True),
        ("stream", False),
        ("attempt", 2),
        ("count", "2-4"),
        ("version", "0.1.0rc1"),
        ("erased", ["ab" * 16] * 4096),
        ("through", "2026-12"),
        ("signing", "0" * 64),
    ],
)
def test_a_coarse_feature_is_readable(key, value):
    """Each key of the allow-list takes its closed shape."""
    check_features({key: value})


def test_every_readable_key_has_a_row_above():
    """A key that is added to the allow-list needs its row in the truth table."""
    rows = test_a_coarse_feature_is_readable.pytestmark[0].args[1]
    assert {key for key, _ in rows} == set(READABLE)


@pytest.mark.parametrize(
    "features",
    [
        {"principal": "ward-7"},
        {"matter": "4711"},
        {"note": "Zebulon Quark"},
        {"role": "Zebulon Quark"},
        {"role": ["clinician"]},
        {"entities": {"Zebulon Quark": "1"}},
        {"entities": {"PERSON": "3"}},
        {"entities": {"PERSON": 3}},
        {"entities": {f"T{n}": "1" for n in range(300)}},
        {"scores": {"PERSON": "0.93"}},
        {"scores": {"PERSON": 0.93}},
        {"rules": ["names of Zebulon Quark"]},
        {"rules": "hipaa.names"},
        {"status": "200"},
        {"status": True},
        {"status": 1000},
        {"error": "Unknown model Zebulon"},
        {"error": "x" * 2 + "-1"},
        {"digests": {"policy": "sha256"}},
        {"digests": {"Zebulon Quark": DIGEST}},
        {"stream": "yes"},
        {"attempt": True},
        {"count": "17"},
        {"version": "Zebulon"},
        {"owner": DIGEST},
        {"erased": ["ab" * 16] * 4097},
        {"erased": [DIGEST]},
        {"erased": "ab" * 16},
        {"through": "2026-13"},
        {"signing": "0" * 63},
    ],
)
def test_text_in_the_open_is_refused(features):
    """An unknown key or a value out of its shape raises, and the message repeats neither."""
    with pytest.raises(RecordError) as raised:
        check_features(features)
    assert "Zebulon" not in str(raised.value)
    assert "ward-7" not in str(raised.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "Intent"},
        {"event": "x" * 41},
        {"event": "seen Zebulon Quark"},
        {"event": "intent"},
        {"event": "outcome", "receipt_id": None},
        {"event": "boot", "receipt_id": "not hex"},
        {"event": "boot", "retain_months": 0},
        {"event": "boot", "retain_months": 6, "floor_months": 7},
        {"event": "boot", "floor_months": -1},
        {"event": "boot", "deadline": datetime(2026, 1, 1)},  # noqa: DTZ001 - the case at hand
        {"event": "boot", "texts": {"Zebulon Quark": "x"}},
        {"event": "boot", "texts": {"prompt": "x"}, "committed": {"prompt": "y"}},
    ],
)
def test_a_malformed_entry_is_refused(fields):
    """An entry is checked when it is submitted, before anything is sealed or queued."""
    with pytest.raises(RecordError):
        Entry(**fields).check()


@pytest.mark.parametrize(
    ("count", "bucket"), [(0, "0"), (1, "1"), (2, "2-4"), (4, "2-4"), (5, "5+"), (9999, "5+")]
)
def test_counts_become_buckets(count, bucket):
    """Promise 7: 0, 1, 2-4, 5+."""
    assert count_bucket(count) == bucket


@pytest.mark.parametrize(
    ("score", "band"), [(0.0, "low"), (0.49, "low"), (0.5, "medium"), (0.85, "high"), (1.0, "high")]
)
def test_scores_become_bands(score, band):
    """Three bands, edges in the higher one."""
    assert score_band(score) == band


def test_an_entry_never_prints_its_texts():
    """STYLE rule 1: sealed values are not in a repr."""
    entry = Entry(
        "boot",
        sealed={"principal": "Zebulon"},
        texts={"prompt": "Zebulon"},
        committed={"original": "Zebulon"},
        values={"PERSON_1": {"<PERSON_1>": "Zebulon"}},
        subject="Zebulon",
    )
    assert "Zebulon" not in repr(entry)


def test_a_record_is_canonical_json_with_its_header_bound_as_it_is():
    """RFC 8785 in all, and what the seals bind to are the very bytes of the header."""
    assert rfc8785.dumps(json.loads(BODY)) == BODY
    record = parse(BODY)
    assert record.header == HEADER
    assert record.bound == canonical(HEADER)
    assert record.parts == (Part("meta", b"\x00\x01", (("aa", b"\x03"), ("bb", b"\x02"))),)


def test_fields_of_a_later_format_are_left_alone():
    """The wire format grows at the end: unknown fields are kept in what is bound, and ignored."""
    value = json.loads(BODY)
    value["header"]["zone"] = "eu"
    value["witness"] = ["x"]
    record = parse(rfc8785.dumps(value))
    assert record.header == HEADER
    assert b'"zone":"eu"' in record.bound


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"v": 1.0},
        {"boot": "x"},
        {"seq": -1},
        {"seq": 1 << 53},
        {"seq": "7"},
        {"event": ""},
        {"rid": 5},
        {"rid": "f" * 31},
        {"minute": "2026-03-01 09:30"},
        {"minute": "٢026-03-01T09:30Z"},
        {"expires": "2032-3"},
        {"key": None},
        {"features": []},
        {"commits": None},
        {"deadline": ""},
        {"origin": 7},
    ],
)
def test_a_record_with_a_field_out_of_shape_is_no_record(change):
    """Known fields are strict."""
    value = json.loads(BODY)
    value["header"] |= change
    with pytest.raises(FormatError):
        parse(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'"' + BODY + b'"',
        BODY + b"\n",
        b" " + BODY,
        BODY.replace(b'"v":1', b'"v":1.0'),
        BODY.replace(b'"seq":7', b'"seq":7,"seq":7'),
        BODY.replace(b"AAE=", b"AAF="),
        BODY.replace(b"AAE=", b"!!!!"),
        BODY.replace(b'"parts":[', b'"parts":{"a":[').replace(b"]}", b"]}}"),
        BODY.replace(b'"key":', b'"kez":'),
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_record_raise(body):
    """Two spellings of one record do not exist: whitespace, duplicate keys, odd base64 raise."""
    with pytest.raises(FormatError):
        parse(body)


def test_times_are_cut_and_rounded_for_the_reader():
    """Minutes in UTC; a deadline rounds up, so that none passes early; expiry is a month."""
    east = datetime(2026, 12, 31, 23, 59, 59, 5, tzinfo=timezone(timedelta(hours=2)))
    assert minute(east) == "2026-12-31T21:59Z"
    assert deadline_minute(east) == "2026-12-31T22:00Z"
    whole = datetime(2026, 12, 31, 22, 0, tzinfo=UTC)
    assert deadline_minute(whole) == "2026-12-31T22:00Z"
    assert [expiry_month(whole, months) for months in (1, 12, 72)] == [
        "2027-01", "2027-12", "2032-12",
    ]  # fmt: skip
