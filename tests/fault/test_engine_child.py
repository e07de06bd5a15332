"""Real children with real native code: what they answer, and what happens when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain import (
    Chunk,
    Decoding,
    FinishReason,
    Message,
    Prompt,
    ResponseFormat,
    Sampling,
    Tool,
    ToolCall,
)
from gateway.engine import wire
from gateway.engine.child import Child
from gateway.engine.llama import Limits, LlamaEngine, ModelSpec
from gateway.engine.models import bundled_model
from gateway.engine.port import Generation
from gateway.errors import (
    BusyError,
    ContextLengthExceededError,
    EngineError,
    EngineTimeoutError,
    ModelFileError,
    RequestError,
    UnknownModelError,
    UnsupportedParameterError,
)
from tests.tinymodel import END, TEMPLATE, USER, write_tiny_gguf

NOTE = "The patient has flu. She takes aspirin 81 mg.\nHer <PERSON_1> is well. What does she take?"
SENTENCES = ["The patient has flu.", "She takes aspirin 81 mg.", "Her <PERSON_1> is well."]
ABSTENTION = "The text does not say."
HELLO = Prompt((Message("user", "Hello"),), sampling=Sampling(max_tokens=8, temperature=0))
LONG = Prompt((Message("user", "Hello"),), sampling=Sampling(max_tokens=3000, temperature=0))
FLOODED = wire.Generate(id=1, turns=())
QUOTE = Prompt((Message("user", NOTE),), response_format=ResponseFormat("extractive"))


def spec(path: Path, name: str = "m", decoding: Decoding = Decoding.FREE) -> ModelSpec:
    return ModelSpec(name, path, hashlib.sha256(path.read_bytes()).hexdigest(), decoding)


def truncated(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes()[:-100])
    return target


@contextlib.asynccontextmanager
async def running(*specs: ModelSpec, **limits) -> AsyncIterator[LlamaEngine]:
    engine = LlamaEngine(specs, limits=Limits(**{"threads": 1, **limits}))
    try:
        await engine.start()
        yield engine
    finally:
        await engine.aclose()


def ask(engine: LlamaEngine, prompt: Prompt, model: str = "m", deadline_s: float = 60):
    return engine.generate(Generation(model, prompt, deadline_s))


async def whole(engine: LlamaEngine, prompt: Prompt, model: str = "m") -> tuple[str, Chunk]:
    chunks = [chunk async for chunk in ask(engine, prompt, model)]
    assert all(chunk.finish is None for chunk in chunks[:-1])
    return "".join(chunk.text for chunk in chunks), chunks[-1]


def child_pid(engine: LlamaEngine, model: str = "m") -> int:
    child = engine._models[model].keeper.child
    assert child is not None
    return child.pid


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes noise and never ends by itself."""
    return write_tiny_gguf(
        tmp_path_factory.mktemp("m") / "tiny.gguf", context=4096, never_ends=True
    )


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that chooses by label, as the bundled one does."""
    return write_tiny_gguf(tmp_path_factory.mktemp("m") / "l.gguf", context=2048, labels=20)


# --- answers ------------------------------------------------------------------------------------


async def test_a_free_answer_counts_and_ends_where_it_must(tiny: Path):
    """max_tokens bounds it, greedy repeats itself, a seed repeats a draw, other seeds differ."""
    async with running(spec(tiny), threads=2) as engine:  # threads start behind the wall
        text, last = await whole(engine, HELLO)
        assert last.finish is FinishReason.LENGTH
        assert last.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, 8)
        assert (await whole(engine, HELLO))[0] == text

        def drawn(seed: int, top_p: float = 1.0):
            sampling = Sampling(max_tokens=20, temperature=1.0, top_p=top_p, seed=seed)
            return whole(engine, Prompt(HELLO.messages, sampling=sampling))

        texts = [(await drawn(seed))[0] for seed in (1, 1, 2, 3)]
        assert texts[0] == texts[1]
        assert len(set(texts)) == 3
        narrow = [(await drawn(seed, top_p=1e-6))[0] for seed in (1, 2)]
        assert narrow[0] == narrow[1]
        assert narrow[0].startswith(text)


async def test_a_stop_string_ends_a_free_answer_before_itself(tiny: Path):
    """The text up to it, nothing of it, reason stop."""
    async with running(spec(tiny)) as engine:
        text, _ = await whole(engine, HELLO)
        stop = text[3:5]
        prompt = Prompt(HELLO.messages, stop=(stop,), sampling=HELLO.sampling)
        cut, last = await whole(engine, prompt)
        assert cut == text[: text.index(stop)]
        assert last.finish is FinishReason.STOP


async def test_a_quotation_is_whole_sentences_of_the_prompt(tiny: Path, labelled: Path):
    """Any model can be held to it; one whose card says so always is; each chunk is a sentence."""
    specs = (spec(tiny), spec(labelled, "labelled", Decoding.EXTRACTIVE))
    async with running(*specs) as engine:
        for model, prompt in (
            ("m", QUOTE),
            ("labelled", QUOTE),
            ("labelled", Prompt((Message("system", "Invent things."), Message("user", NOTE)))),
        ):
            for seed in range(5):
                drawn = Prompt(
                    prompt.messages,
                    response_format=prompt.response_format,
                    sampling=Sampling(temperature=5.0, seed=seed),
                )
                chunks = [chunk async for chunk in ask(engine, drawn, model)]
                said = [chunk.text.removeprefix("\n") for chunk in chunks if chunk.text]
                assert said == [ABSTENTION] or said == sorted(said, key=SENTENCES.index)
                assert len(set(said)) == len(said) > 0
                assert chunks[-1].finish is FinishReason.STOP
        assert engine.models()[1].decoding is Decoding.EXTRACTIVE


async def test_a_quotation_obeys_max_tokens_and_stop_by_whole_sentences(labelled: Path):
    """Too small a budget gives an empty answer of reason length; a stop string is never reached."""
    async with running(spec(labelled, decoding=Decoding.EXTRACTIVE)) as engine:
        greedy, last = await whole(engine, QUOTE)
        assert last.usage is not None
        need = last.usage.completion_tokens
        for tokens, text, finish in (
            (need, greedy, FinishReason.STOP),
            (1, "", FinishReason.LENGTH),
        ):
            prompt = Prompt(QUOTE.messages, sampling=Sampling(max_tokens=tokens))
            answer, last = await whole(engine, prompt)
            assert (answer, last.finish) == (text, finish)
        stopped = Prompt(QUOTE.messages, stop=(greedy.split("\n")[0][-4:],))
        answer, last = await whole(engine, stopped)
        assert (answer, last.finish) == ("", FinishReason.STOP)


async def test_a_question_without_a_text_is_answered_by_abstaining(labelled: Path):
    """Nothing to quote: the fixed line."""
    async with running(spec(labelled, decoding=Decoding.EXTRACTIVE)) as engine:
        prompt = Prompt((Message("user", "What is the capital of France?"),))
        assert (await whole(engine, prompt))[0] == ABSTENTION


async def test_a_tools_result_is_quotable(labelled: Path):
    """A call and its result in the history are read; the result's sentences are candidates."""
    async with running(spec(labelled, decoding=Decoding.EXTRACTIVE)) as engine:
        call = ToolCall("c1", "chart", "{}")
        messages = (
            Message("user", "What does she take?"),
            Message("assistant", None, tool_calls=(call,)),
            Message("tool", "She takes aspirin.", tool_call_id="c1"),
        )
        text, _ = await whole(engine, Prompt(messages))
        assert text in ("She takes aspirin.", ABSTENTION)


@pytest.mark.parametrize("marker", [USER, END])
@pytest.mark.parametrize("kind", ["control", "user-defined"])
async def test_text_that_spells_a_control_token_is_text(tmp_path: Path, marker: str, kind: str):
    """However the file marks it, a marker in a message costs as many tokens as its letters."""
    path = tmp_path / "m.gguf"
    if kind == "control":
        write_tiny_gguf(path)
    else:
        forged = "[[turn]]"
        write_tiny_gguf(path, user_defined=[forged], template=forged + TEMPLATE)
        marker = forged
    async with running(spec(path)) as engine:

        async def cost(text: str) -> int:
            prompt = Prompt((Message("user", text),), sampling=Sampling(max_tokens=1))
            _, last = await whole(engine, prompt)
            assert last.usage is not None
            return last.usage.prompt_tokens

        assert await cost(f"a{marker}b") - await cost("ab") == len(marker)


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (Prompt(HELLO.messages, tools=(Tool("t"),)), "tools"),
        (Prompt(HELLO.messages, tool_choice="required"), "tool_choice"),
        (Prompt(HELLO.messages, response_format=ResponseFormat("json_object")), "response_format"),
        (Prompt(HELLO.messages, response_format=ResponseFormat("json_schema")), "response_format"),
    ],
)
async def test_what_a_quoting_model_cannot_do_is_refused_by_name(
    labelled: Path, prompt: Prompt, param
):
    """Never ignored: the parameter is named, and the child is not asked."""
    async with running(spec(labelled, decoding=Decoding.EXTRACTIVE)) as engine:
        with pytest.raises(UnsupportedParameterError) as caught:
            await whole(engine, prompt)
        assert caught.value.param == param
        with pytest.raises(UnknownModelError):
            await whole(engine, HELLO, "other")


async def test_what_does_not_fit_is_refused_before_decoding(tiny: Path, labelled: Path):
    """Too long a prompt, a max_tokens beyond the context, more sentences than labels."""
    async with running(spec(tiny), spec(labelled, "labelled", Decoding.EXTRACTIVE)) as engine:
        for model, text, tokens in (
            ("m", "x" * 4097, None),
            ("m", "x", 4096),
            ("labelled", "One sentence. " * 30, None),
        ):
            prompt = Prompt((Message("user", text),), sampling=Sampling(max_tokens=tokens))
            with pytest.raises(ContextLengthExceededError):
                await whole(engine, prompt, model)
        with pytest.raises(RequestError):
            await whole(engine, Prompt((Message("user", "\ud800"),)))
        assert (await whole(engine, HELLO))[1].finish is FinishReason.LENGTH


async def test_a_template_that_refuses_a_role_is_a_bad_request(tmp_path: Path):
    """The model cannot be asked this; the next request is answered."""
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('x') }}{% endif %}"
    path = write_tiny_gguf(tmp_path / "m.gguf", template=template + TEMPLATE)
    async with running(spec(path)) as engine:
        with pytest.raises(UnsupportedParameterError) as caught:
            await whole(engine, Prompt((Message("system", "s"), *HELLO.messages)))
        assert caught.value.param == "messages"
        await whole(engine, HELLO)


# --- the wall, seen from outside ----------------------------------------------------------------


async def test_a_child_has_nothing_but_its_pipes_and_its_model(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    """No environment, no other descriptor, filters on, no core file."""
    if os.geteuid() != 0:
        pytest.skip("only root may look into a process that is not dumpable")
    monkeypatch.setenv("CLOISTER_SECRET", "do-not-inherit")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    with (tiny.parent / "open").open("wb") as held:
        os.set_inheritable(held.fileno(), True)
        async with running(spec(tiny)) as engine:
            await whole(engine, HELLO)
            proc = Path(f"/proc/{child_pid(engine)}")
            assert (proc / "environ").read_bytes() == b"GOMP_SPINCOUNT=3000\0"
            links = {path.name: str(path.readlink()) for path in (proc / "fd").iterdir()}
            assert links.pop("2") == "/dev/null"
            assert links.pop("0").startswith(("pipe:", "socket:"))
            assert links.pop("1").startswith(("pipe:", "socket:"))
            assert set(links.values()) == {str(tiny)}
            status = (proc / "status").read_text()
            assert "Seccomp:\t2" in status
            assert "NoNewPrivs:\t1" in status
            limits = (proc / "limits").read_text()
            core = next(line for line in limits.splitlines() if "core file" in line)
            assert core.split()[4:6] == ["0", "0"]
            assert engine.isolation in ("seccomp+landlock", "seccomp")


async def test_a_child_goes_first_when_memory_runs_out(tiny: Path):
    """The kernel's choice falls on native code and not on the gateway."""
    async with running(spec(tiny)) as engine:
        score = await asyncio.to_thread(
            Path(f"/proc/{child_pid(engine)}/oom_score_adj").read_text, "ascii"
        )
        assert int(score) == 1000


FLOOD = """
import os, sys
frame = sys.stdin.buffer.read(int(sys.argv[1]))
frame *= 1 + 65536 // len(frame)
while True: os.write(1, frame)
"""


@contextlib.asynccontextmanager
async def flooding(message: wire.FromChild | bytes) -> AsyncIterator[Child]:
    """A child that says one thing for ever, or bytes of its own."""
    frame = message if isinstance(message, bytes) else wire.pack(message)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", FLOOD, str(len(frame))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(frame)
    child = Child(process)
    try:
        yield child
    finally:
        await child.kill()


@pytest.mark.parametrize("text", ["x", "x" * 100_000])
async def test_a_child_that_floods_the_gateway_is_ended(text: str):
    """Whoever does not take its words (a slow client), they fill no memory without bound."""
    async with flooding(wire.Step((wire.Said(1, 0, text),))) as child:
        events = child.ask(FLOODED)
        async with asyncio.timeout(60):
            await child.gone.wait()
        assert 0 < events.qsize() <= (1 << 18) + 1
        assert events.qsize() * len(text) <= 65 * 1024 * 1024


async def test_a_child_whose_words_are_no_text_is_ended():
    """Bytes that are no UTF-8 break the protocol as any others do; the watchdog is not needed."""
    frame = wire.pack(wire.Step((wire.Said(1, 0, "word"),))).replace(b"word", b"\xff\xff\xff\xff")
    async with flooding(frame) as child:
        child.ask(FLOODED)
        async with asyncio.timeout(10):
            await child.gone.wait()


async def test_signs_of_life_and_words_that_nobody_asked_for_are_not_kept():
    """Neither an empty step nor what is said of another request waits for anybody."""
    for message in (wire.Step(), wire.Step((wire.Said(2, 0, "x"),))):
        async with flooding(message) as child:
            events = child.ask(FLOODED)
            await asyncio.sleep(0.2)
            assert events.qsize() == 0
            assert not child.gone.is_set()


async def test_without_the_wall_the_engine_says_so(tiny: Path):
    """Isolation none is told to every record."""
    engine = LlamaEngine([spec(tiny)], isolation="none", limits=Limits(threads=1))
    try:
        await engine.start()
        assert engine.isolation == "none"
        assert (await whole(engine, HELLO))[1].finish is FinishReason.LENGTH
    finally:
        await engine.aclose()


# --- faults -------------------------------------------------------------------------------------


async def test_a_file_that_is_not_the_recorded_one_is_never_loaded(tmp_path: Path, tiny: Path):
    """Another digest, no digest, cut, missing: the start fails, and nothing is served."""
    cut = truncated(tiny, tmp_path / "cut.gguf")
    for broken in (
        ModelSpec("m", tiny, "0" * 64),
        ModelSpec("m", tiny, ""),
        spec(cut),
        ModelSpec("m", tmp_path / "absent.gguf", "0" * 64),
    ):
        engine = LlamaEngine([broken], limits=Limits(threads=1))
        with pytest.raises(ModelFileError):
            await engine.start()
        assert not engine.ready
        assert engine.models() == ()
        with pytest.raises(ModelFileError):
            await whole(engine, HELLO)
        await engine.aclose()


async def test_a_header_that_is_sound_around_a_model_that_is_not_is_refused(tmp_path: Path):
    """What only llama.cpp can tell, it tells from behind the wall."""
    for more in ({"llama.attention.head_count": 7}, {"general.architecture": "llama2"}):
        metadata = {"llama2.context_length": 64, **more}
        path = write_tiny_gguf(tmp_path / "m.gguf", metadata=metadata)
        engine = LlamaEngine([spec(path)], limits=Limits(threads=1))
        with pytest.raises(ModelFileError):
            await engine.start()
        await engine.aclose()


async def test_a_killed_child_fails_one_answer_and_the_next_is_given(tiny: Path):
    """Kill -9 in the middle: EngineError for that one, a new child for the next."""
    async with running(spec(tiny)) as engine:
        pid = child_pid(engine)
        answer = ask(engine, LONG)
        await anext(answer)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineError) as caught:
            async for _ in answer:
                pass
        assert type(caught.value) is EngineError
        assert (await whole(engine, HELLO))[1].finish is FinishReason.LENGTH
        assert child_pid(engine) != pid
        assert engine.ready


async def test_a_child_that_dies_while_nothing_runs_is_replaced(tiny: Path):
    """Nobody is told of a crash that hurt nobody."""
    async with running(spec(tiny)) as engine:
        child = engine._models["m"].keeper.child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        await child.gone.wait()
        assert (await whole(engine, HELLO))[1].finish is FinishReason.LENGTH


async def test_a_child_that_hangs_is_ended_by_the_watchdog(tiny: Path):
    """No sign of life for stall_s: EngineTimeoutError, and a new child for the next."""
    async with running(spec(tiny), stall_s=1.0) as engine:
        pid = child_pid(engine)
        answer = ask(engine, LONG)
        await anext(answer)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EngineTimeoutError):
            async for _ in answer:
                pass
        assert (await whole(engine, HELLO))[1].finish is FinishReason.LENGTH
        assert child_pid(engine) != pid


async def test_a_deadline_ends_an_answer_and_the_child_lives_on(tiny: Path):
    """The answer is cut with EngineTimeoutError; the same child answers the next."""
    async with running(spec(tiny)) as engine:
        pid = child_pid(engine)
        with pytest.raises(EngineTimeoutError):
            async for _ in ask(engine, LONG, deadline_s=0.05):
                pass
        await whole(engine, HELLO)
        assert child_pid(engine) == pid


async def test_closing_an_answer_frees_the_slot(tiny: Path):
    """Closed by the client or cancelled by the server: the same child answers the next."""
    async with running(spec(tiny)) as engine:
        pid = child_pid(engine)
        answer = ask(engine, LONG)
        await anext(answer)
        await answer.aclose()
        cancelled = asyncio.create_task(whole(engine, LONG))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (await whole(engine, HELLO))[1].finish is FinishReason.LENGTH
        assert child_pid(engine) == pid


async def test_a_closed_answer_stops_the_childs_work(tiny: Path):
    """After aclose the child is done within a token or two, thousands before the answer's end."""
    async with running(spec(tiny)) as engine:
        answer = ask(engine, LONG)
        await anext(answer)
        child = engine._models["m"].keeper.child
        assert child is not None
        told = []
        take = child._take
        child._take = lambda message: (told.append(message), take(message))[1]  # type: ignore[method-assign]
        await answer.aclose()
        await whole(engine, HELLO)
        ends = [end for step in told if isinstance(step, wire.Step) for end in step.ended]
        done = ends[0]
        assert isinstance(done, wire.Done)
        assert done.finish == "cancelled"
        assert done.completion_tokens < 1000


async def test_a_bounded_queue_and_no_more(tiny: Path):
    """One runs, one waits, the third is told that all slots are taken and when to come back."""
    async with running(spec(tiny), slots=1, queue=1) as engine:
        first = ask(engine, LONG)
        await anext(first)
        second = asyncio.create_task(whole(engine, HELLO))
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as caught:
            await whole(engine, HELLO)
        assert 1 <= caught.value.retry_after_s <= 60
        await first.aclose()
        assert (await second)[1].finish is FinishReason.LENGTH


async def test_without_a_queue_a_busy_model_says_so_at_once(tiny: Path):
    """Queue 0: nobody waits."""
    async with running(spec(tiny), slots=1, queue=0) as engine:
        first = ask(engine, LONG)
        await anext(first)
        with pytest.raises(BusyError):
            await whole(engine, HELLO)
        await first.aclose()


async def test_closing_the_engine_ends_its_children_and_its_answers(tiny: Path):
    """Idempotent; an open answer fails, a later one too; no process is left."""
    async with running(spec(tiny)) as engine:
        pid = child_pid(engine)
        answer = ask(engine, LONG)
        await anext(answer)
        await engine.aclose()
        await engine.aclose()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(EngineError):
            async for _ in answer:
                pass
        with pytest.raises(EngineError):
            await whole(engine, HELLO)


# --- the model in the box -----------------------------------------------------------------------


async def test_the_bundled_model_quotes():
    """The file that ships loads, is the recorded one, and answers out of the text."""
    record = bundled_model()
    if not record.spec.sha256:
        pytest.skip("the bundled model has not been built into this tree yet")
    async with running(record.spec) as engine:
        text, last = await whole(engine, Prompt((Message("user", NOTE),)), record.spec.name)
        assert last.finish is FinishReason.STOP
        assert set(text.split("\n")) <= {*SENTENCES, ABSTENTION}
