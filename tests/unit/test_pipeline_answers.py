"""Several answers to one prompt, log-probabilities and embeddings through the real pipeline."""

from __future__ import annotations

import pytest

from gateway.domain import (
    Ask,
    Chunk,
    Decoding,
    Message,
    ModelCard,
    Principal,
    Prompt,
    Purpose,
    ResponseFormat,
    Role,
    Sampling,
    Tool,
    Usage,
)
from gateway.engine.port import Embedded
from gateway.errors import (
    EngineError,
    GuardRefusedError,
    LedgerUnavailableError,
    PolicyDeniedError,
    RequestError,
    RestoreError,
    UnsupportedParameterError,
)
from tests import echo
from tests.echo import FREE, QUOTER, REMOTE, EchoEngine, Unnumbered, overlay
from tests.fault.test_site_reports import opened

NAME = "Zara Quillfeather"
TEXT = f"of {NAME} it is said"
GROUNDED = overlay("grounded", "decoding: grounded")
QUOTED = overlay("quoted", "decoding: extractive")


@pytest.fixture
def ward(tmp_path):
    with echo.ward(tmp_path) as one:
        yield one


def ask(text: str = TEXT, role: Role = Role.CLINICIAN, n: int = 1, **prompt) -> Ask:
    principal = Principal("p-1", role, frozenset(Purpose), Purpose.TREATMENT)
    logprobs = prompt.pop("logprobs", None)
    model = prompt.pop("model", None)
    drawn = Sampling(n=n, logprobs=logprobs)
    said = (*prompt.pop("before", ()), Message("user", text))
    asked = Prompt(said, sampling=drawn, **prompt)
    return Ask(principal, Purpose.TREATMENT, asked, model=model)


async def chunks(ward, asked: Ask) -> list[Chunk]:
    answering = await ward.pipeline.chat(asked)
    try:
        return [chunk async for chunk in answering.chunks]
    finally:
        await answering.aclose()


def texts(found: list[Chunk], n: int) -> list[str]:
    return ["".join(c.text for c in found if c.index == index) for index in range(n)]


def records(ward) -> list[dict[str, object]]:
    ward.ledger.publish().result()
    return [r for r in opened(ward.home) if r["event"] in {"intent", "outcome"}]


# --- several answers ------------------------------------------------------------------------------


async def test_each_of_several_answers_is_restored(ward):
    """Pieces of all of them come interleaved, each under its index and with a last chunk."""
    found = await chunks(ward, ask(n=3))
    assert texts(found, 3) == [TEXT, f"1: {TEXT}", f"2: {TEXT}"]
    assert [c.index for c in found if c.finish] == [0, 1, 2]
    assert [c.index for c in found[:3]] == [0, 1, 2]
    assert len(ward.engine.asked) == 1
    assert NAME not in repr(ward.engine.asked[0].prompt.messages[0].content)


async def test_the_engine_is_told_whose_turn_it_is_and_what_may_be_said(ward):
    """The lane is the principal's, the placeholders are the mapping's."""
    await chunks(ward, ask())
    (generation,) = ward.engine.asked
    assert generation.lane == "p-1"
    assert generation.placeholders == {"<PERSON_1>"}


async def test_hidden_values_carry_a_tag_of_their_answer(ward):
    """Who may not see a value gets another tag in each answer: none is filled from another."""
    found = await chunks(ward, ask(role=Role.RESEARCHER, n=2))
    tags = [text.partition("<PERSON_1:")[2].partition(">")[0] for text in texts(found, 2)]
    assert all(tags)
    assert tags[0] != tags[1]
    assert NAME not in "".join(c.text for c in found)


async def test_one_outcome_holds_all_answers_and_comes_before_any_end(ward):
    """No finish of any answer leaves before the one outcome of all of them is durable."""
    answering = await ward.pipeline.chat(ask(n=2))
    seen: list[str] = []
    async for chunk in answering.chunks:
        if chunk.finish is not None:
            seen = [record["event"] for record in records(ward)]
            break
    await answering.aclose()
    assert seen == ["intent", "outcome"]
    intent, outcome = records(ward)
    assert intent["sealed"]["sampling"]["n"] == 2
    assert outcome["sealed"]["tokens"] == {"prompt": 7, "completion": 10, "cached": 2}
    assert outcome["sealed"]["finishes"] == ["stop", "stop"]
    assert outcome["features"]["finish"] == "stop"
    assert outcome["text"]["texts"]["answer.masked"] == TEXT.replace(NAME, "<PERSON_1>")
    assert outcome["text"]["texts"]["answer.masked.2"] == "1: " + TEXT.replace(NAME, "<PERSON_1>")


async def test_without_a_durable_outcome_no_answer_ends(ward, monkeypatch):
    """A ledger that fails after the answers leaves a stream without a finish of any of them."""
    answering = await ward.pipeline.chat(ask(n=2))
    ward.ledger.close()
    found = []
    with pytest.raises(LedgerUnavailableError):
        found += [chunk async for chunk in answering.chunks]
    assert not [chunk for chunk in found if chunk.finish]


@pytest.mark.parametrize("order", ["LOST", "STRAY", "AGAIN"])
async def test_an_engine_that_breaks_the_protocol_has_no_answer(ward, order):
    """An answer that never ends, that nobody asked for or that goes on is a failure on record."""
    with pytest.raises(EngineError) as failed:
        await chunks(ward, ask(order, n=2))
    assert failed.value.receipt_id
    _, outcome = records(ward)
    assert outcome["features"]["error"] == "engine_failed"


async def test_a_required_check_looks_at_each_answer(tmp_path):
    """One that fails is named by its number; the verdict of another does not hide it."""
    annotate = overlay("look", "require: [{stage: compliance, action: annotate}]")
    with echo.ward(tmp_path, annotate, guards={"compliance": Unnumbered()}) as ward:
        answering = await ward.pipeline.chat(ask(n=3))
        assert [chunk async for chunk in answering.chunks]
        assert [verdict.choice for verdict in answering.annotations] == [1]
        _, outcome = records(ward)
        assert outcome["features"]["stages"] == {"compliance": "failed"}
        assert [v["passed"] for v in outcome["sealed"]["verdicts"]] == [True, False, True]


async def test_one_answer_that_may_not_leave_keeps_all_back(tmp_path):
    """Nothing of any answer, text or log-probability, has left when one is withheld."""
    withhold = overlay("hold", "require: [{stage: compliance, action: withhold}]")
    with echo.ward(tmp_path, withhold, guards={"compliance": Unnumbered()}) as ward:
        with pytest.raises(GuardRefusedError):
            await ward.pipeline.chat(ask(n=2, logprobs=1))
        held = await chunks(ward, ask(n=1, logprobs=1))
        assert texts(held, 1) == [TEXT]
        assert len(held) == 1
        assert len(held[0].logprobs) > 1


# --- log-probabilities ----------------------------------------------------------------------------


async def test_log_probabilities_are_of_the_masked_answer(ward):
    """Joined, their tokens are what the model wrote, whatever is restored beside them."""
    found = await chunks(ward, ask(logprobs=2))
    told = [each for chunk in found for each in chunk.logprobs]
    assert b"".join(each.token for each in told).decode() == TEXT.replace(NAME, "<PERSON_1>")
    assert all(len(each.top) == 2 for each in told)
    assert texts(found, 1) == [TEXT]


# --- what policy holds answers to -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "asked", "kind"),
    [
        ((), "text", "text"),
        ((GROUNDED,), "text", "grounded"),
        ((QUOTED,), "text", "extractive"),
        ((GROUNDED, QUOTED), "text", "extractive"),
        ((QUOTED, GROUNDED), "grounded", "extractive"),
        ((GROUNDED,), "grounded", "grounded"),
        ((GROUNDED,), "extractive", "extractive"),
        ((), "grounded", "grounded"),
    ],
)
async def test_the_strictest_decoding_of_all_is_used(tmp_path, policies, asked, kind):
    """Policy and caller: free < grounded < extractive, and the record says which it was."""
    with echo.ward(tmp_path, *policies, engine=EchoEngine((FREE,))) as ward:
        await chunks(ward, ask(response_format=ResponseFormat(asked)))
        assert ward.engine.asked[0].prompt.response_format.kind == kind
        intent, _ = records(ward)
        assert intent["sealed"]["decoding"] == ("free" if kind == "text" else kind)


TOOL = Tool("book", parameters={"type": "object"})


@pytest.mark.parametrize(
    ("policies", "prompt", "param"),
    [
        ((GROUNDED,), {"tools": (TOOL,)}, "tools"),
        ((QUOTED,), {"tools": (TOOL,)}, "tools"),
        ((GROUNDED,), {"response_format": ResponseFormat("json_object")}, "response_format"),
        ((GROUNDED,), {"response_format": ResponseFormat("json_schema")}, "response_format"),
        ((QUOTED,), {"raw": True}, "prompt"),
        ((), {"raw": True, "model": QUOTER.name}, "prompt"),
        ((GROUNDED,), {"model": REMOTE.name}, "response_format"),
        (
            (),
            {"response_format": ResponseFormat("grounded"), "model": REMOTE.name},
            "response_format",
        ),
    ],
)
async def test_what_cannot_be_held_to_it_is_refused(tmp_path, policies, prompt, param):
    """Tools, JSON, raw prompts and other servers: a 400 with the parameter's name, on record."""
    engine = EchoEngine((FREE, QUOTER, REMOTE))
    with echo.ward(tmp_path, *policies, engine=engine) as ward:
        with pytest.raises(UnsupportedParameterError) as refused:
            await ward.pipeline.chat(ask(**prompt))
        assert refused.value.param == param
        assert refused.value.receipt_id
        assert not engine.asked
        assert [record["event"] for record in records(ward)] == ["intent", "outcome"]


async def test_a_raw_prompt_can_be_held_to_its_own_values(tmp_path):
    """Grounded is decided token by token and needs no chat."""
    with echo.ward(tmp_path, GROUNDED) as ward:
        await chunks(ward, ask(raw=True))
        prompt = ward.engine.asked[0].prompt
        assert (prompt.raw, prompt.response_format.kind) == (True, "grounded")
        assert records(ward)[0]["sealed"]["operation"] == "completion"


async def test_a_pool_elsewhere_is_never_chosen_for_grounded_answers(tmp_path):
    """The smaller remote model is passed over for a local one."""
    engine = EchoEngine((REMOTE, FREE))
    with echo.ward(tmp_path, GROUNDED, engine=engine) as ward:
        await chunks(ward, ask())
        assert engine.asked[0].model == FREE.name


async def test_a_model_that_was_declared_grounded_is(tmp_path):
    """What its operator declared of a model holds without a policy."""
    card = ModelCard("house/bound", "ab" * 32, "llama", 1, 4096, Decoding.GROUNDED, zone="local")
    engine = EchoEngine((card,))
    with echo.ward(tmp_path, engine=engine) as ward:
        await chunks(ward, ask())
        assert engine.asked[0].prompt.response_format.kind == "grounded"


# --- restored JSON --------------------------------------------------------------------------------

CHART = (Message("user", '{"mrn": 84720193}'),)
"""Where the number was a number: a model gets and writes it as a string (``@1``)."""
SCHEMA = {
    "type": "object",
    "properties": {"who": {"type": "string", "enum": [NAME, "nobody"]}, "mrn": {"type": "integer"}},
    "required": ["who"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("strict", [True, False, None])
@pytest.mark.parametrize(
    ("said", "fits"),
    [
        (f'{{"who": "{NAME}", "mrn": "@1"}}', True),
        ('{"who": "nobody"}', True),
        ('{"who": "somebody"}', False),
        ('{"mrn": "@1"}', False),
        (f'{{"who": "{NAME}", "mrn": "many"}}', False),
        (f'{{"who": "{NAME}", "age": 1}}', False),
    ],
)
async def test_a_restored_answer_fits_the_callers_own_schema(ward, said, fits, strict):
    """Checked against the schema as the caller wrote it, strict or not."""
    wanted = ResponseFormat("json_schema", "n", schema=SCHEMA, strict=strict)
    asked = ask(f"JSON {said}", response_format=wanted, before=CHART)
    if fits:
        written = said.replace('"@1"', "84720193")
        assert texts(await chunks(ward, asked), 1) == [written]
    else:
        with pytest.raises(RestoreError):
            await chunks(ward, asked)
        assert records(ward)[-1]["features"]["error"] == "restore_failed"


async def test_what_may_not_be_seen_stands_for_what_fits(ward):
    """A hidden value excuses its place, and no other."""
    wanted = ResponseFormat("json_schema", "n", schema=SCHEMA)
    said = f'{{"who": "{NAME}", "mrn": "@1"}}'
    found = await chunks(
        ward, ask(f"JSON {said}", role=Role.RESEARCHER, response_format=wanted, before=CHART)
    )
    assert NAME not in texts(found, 1)[0]
    assert "84720193" not in texts(found, 1)[0]
    wrong = f'{{"who": "{NAME}", "mrn": "many"}}'
    with pytest.raises(RestoreError):
        await chunks(
            ward, ask(f"JSON {wrong}", role=Role.RESEARCHER, response_format=wanted, before=CHART)
        )


@pytest.mark.parametrize(
    ("name", "arguments", "fits"),
    [
        ("book", f'{{"who": "{NAME}", "mrn": "@1"}}', True),
        ("book", '{"who": "somebody"}', False),
        ("look", f'{{"who": "{NAME}"}}', True),
        ("look", '{"mrn": 1}', False),
    ],
)
async def test_arguments_of_tools_fit_their_schemas(ward, name, arguments, fits):
    """Of a tool that policy names restored, of others with the placeholders that were left."""
    tools = (Tool("book", parameters=SCHEMA), Tool("look", parameters=SCHEMA))
    asked = ask(f"CALL {name} {arguments}", tools=tools, before=CHART)
    if not fits:
        with pytest.raises(RestoreError):
            await chunks(ward, asked)
        return
    (last,) = await chunks(ward, asked)
    assert (NAME in last.tool_calls[0].arguments) == (name == "book")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.org/schema"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"$ref": "#/$defs/none"},
        {"type": "strnig"},
        {"properties": []},
    ],
)
async def test_a_schema_that_holds_nobody_is_refused_before_a_model_is_asked(ward, schema):
    """No schema, or one that leads out of itself: 400 by its name, and nothing is fetched."""
    for prompt, param in (
        (
            {"response_format": ResponseFormat("json_schema", "n", schema=schema)},
            "response_format.json_schema.schema",
        ),
        ({"tools": (Tool("book", parameters=schema),)}, "tools[0].function.parameters"),
    ):
        with pytest.raises(RequestError) as refused:
            await chunks(ward, ask(**prompt))
        assert refused.value.param == param
    assert not ward.engine.asked


# --- embeddings -----------------------------------------------------------------------------------


def texts_to_embed(*given: str) -> Ask:
    asked = ask()
    prompt = Prompt(tuple(Message("user", text) for text in given))
    return Ask(asked.principal, asked.purpose, prompt)


async def test_texts_are_masked_together_before_they_are_embedded(ward):
    """One value has one placeholder in all of them; intent and outcome are on record."""
    done = await ward.pipeline.embed(texts_to_embed(f"a {NAME}", "b Ottoline Brack", f"c {NAME}"))
    (embedding,) = ward.engine.embedded
    assert list(embedding.texts) == ["a <PERSON_1>", "b <PERSON_2>", "c <PERSON_1>"]
    assert (embedding.model, embedding.lane) == (FREE.name, "p-1")
    assert list(done.vectors) == [EchoEngine.vector(text) for text in embedding.texts]
    intent, outcome = records(ward)
    assert intent["sealed"]["operation"] == "embeddings"
    assert outcome["sealed"]["tokens"]["prompt"] == 3
    assert outcome["features"]["finish"] == "stop"


async def test_a_model_that_only_quotes_embeds_nothing(tmp_path):
    """The smallest model is passed over; where it is the only one the request is a 400."""
    with echo.ward(tmp_path, engine=EchoEngine((QUOTER,))) as ward:
        with pytest.raises(UnsupportedParameterError) as refused:
            await ward.pipeline.embed(texts_to_embed("a"))
        assert refused.value.param == "model"
        assert not ward.engine.embedded


async def test_a_denied_purpose_embeds_nothing(ward):
    """Policy decides before anything is looked at."""
    asked = texts_to_embed(NAME)
    denied = Ask(asked.principal, Purpose.MARKETING, asked.prompt)
    with pytest.raises(PolicyDeniedError):
        await ward.pipeline.embed(denied)
    assert not ward.engine.embedded


@pytest.mark.parametrize("vectors", [[], [[1.0], [0.5, 0.5]], [[float("nan")], [1.0]]])
async def test_vectors_that_are_none_are_a_failure_on_record(ward, monkeypatch, vectors):
    """Too few, of different lengths, or no numbers."""

    async def embed(_embedding):
        return Embedded(vectors, Usage())

    ward.engine.embed = embed
    with pytest.raises(EngineError):
        await ward.pipeline.embed(texts_to_embed("a", "b"))
    assert records(ward)[-1]["features"]["error"] == "engine_failed"
