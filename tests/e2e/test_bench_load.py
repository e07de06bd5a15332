"""The load client of the benchmarks against a real server: what it counts is what came."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks import loopback
from tests.benchmarks.load import Connection, Job, RefusedError, chat_body, perform, run
from tests.benchmarks.loopback import PIECE_S, PIECES, SLOW, USAGE
from tests.running import Gateway


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with loopback.upstream() as opened:
        yield opened


def test_a_job_is_run_whole_in_a_process_of_its_own(port: int) -> None:
    """Every answer is there, with its tokens, its first text before its end."""
    asked = [chat_body(f"Number {n}.", model=SLOW, tokens=5) for n in range(5)]
    outcome = run(Job(port, 2, asked))
    assert len(outcome.answers) == 5
    assert {answer.completion_tokens for answer in outcome.answers} == {USAGE["completion_tokens"]}
    assert outcome.prompt_tokens == USAGE["prompt_tokens"]
    least = (PIECES - 1) * PIECE_S
    assert all(answer.total_s - answer.first_s > least for answer in outcome.answers)
    # Five answers, two at a time: three one after the other.
    assert 3 * least < outcome.wall_s
    assert outcome.tokens_per_s == pytest.approx(25 / outcome.wall_s)


async def test_the_text_is_put_together(port: int) -> None:
    """A second turn of a conversation sends back what the first one said."""
    connection = await Connection.open(port)
    await connection.chat(chat_body("Say it.", model=SLOW, tokens=5))
    assert connection.text() == "".join(f"word{index} " for index in range(PIECES))
    await connection.close()


async def test_a_refusal_is_no_answer(gateway: Gateway) -> None:
    """Nothing that was not answered is counted as an answer; the status says why."""
    with pytest.raises(RefusedError) as caught:
        await perform(Job(gateway.port, 1, [chat_body("Say it.", model="m", tokens=5)]))
    assert caught.value.status == 401
