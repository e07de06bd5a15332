"""What a second turn computes again, and what a held answer costs beside a free one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tests.benchmarks.compared import ANSWER, Texts, bodies
from tests.benchmarks.harness import percentile
from tests.benchmarks.load import Connection, Job, Outcome, RefusedError, chat_body, run
from tests.benchmarks.randommodel import Shape
from tests.running import Gateway

PARALLEL = 8
CONVERSATIONS = 5
ENERGY = "cloister_energy_joules_total"
GROUNDED: Mapping[str, object] = {"type": "grounded"}
# Longer than 64 tokens by construction. The random model writes words of its own accord and never
# a bracket: in each string some thirty tokens that it chose, around it some twenty that it did not.
SCHEMA: Mapping[str, object] = {
    "type": "object",
    "properties": {
        "notes": {
            "type": "array",
            "minItems": 8,
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "minLength": 120, "maxLength": 160},
                    "done": {"type": "boolean"},
                },
                "required": ["text", "done"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["notes"],
    "additionalProperties": False,
}
HELD_TO_JSON: Mapping[str, object] = {
    "type": "json_schema",
    "json_schema": {"name": "notes", "schema": SCHEMA, "strict": True},
}


class NotMeasuredError(Exception):
    """The gateway cannot do this yet, or does not tell. The message says which."""


def second_turn(port: int, key: str, model: str, texts: Texts) -> tuple[int, int]:
    """Prompt tokens that the second turn of a conversation computed, and the most it needed to.

    The middle one of ``CONVERSATIONS``: a random word of an answer can look like a name, is then
    masked on its way back, and what follows it is rightly new.

    Raises:
        NotMeasuredError: the usage does not tell how many were cached.
    """
    told = [asyncio.run(_second_turn(port, key, model, texts)) for _ in range(CONVERSATIONS)]
    return sorted(told, key=lambda one: one[0] - one[1])[CONVERSATIONS // 2]


async def _second_turn(port: int, key: str, model: str, texts: Texts) -> tuple[int, int]:
    connection = await Connection.open(port, key)
    turns = [{"role": "user", "content": texts.take(1000, 1)[0]}]
    before = await connection.chat(chat_body(turns, model=model, tokens=ANSWER))
    turns.append({"role": "assistant", "content": connection.text()})
    turns.append({"role": "user", "content": "What is to be done in the next week?"})
    await connection.close()
    connection = await Connection.open(port, key)  # llama-server hangs up between two answers
    after = await connection.chat(chat_body(turns, model=model, tokens=ANSWER))
    await connection.close()
    if after.cached_tokens is None:
        raise NotMeasuredError("the usage has no prompt_tokens_details.cached_tokens")
    # The last token of an answer is chosen and not computed: it is new to the cache.
    new = after.prompt_tokens - before.prompt_tokens - before.completion_tokens + 1
    return after.prompt_tokens - after.cached_tokens, new


def held_against_free(
    gateway: Gateway, shape: Shape, texts: Texts, held: Mapping[str, object], rounds: int
) -> tuple[float, float, float]:
    """The lowest, the middle and the highest ratio of tokens a second, held to free.

    Raises:
        NotMeasuredError: the gateway refuses the format.
    """
    if refused := asyncio.run(_refused(gateway, shape.name, held)):
        raise NotMeasuredError(f"response_format {held['type']} is refused ({refused})")
    ratios: list[float] = []
    for number in range(rounds + 1):
        free = _speed(gateway, shape.name, texts, {})
        ratio = _speed(gateway, shape.name, texts, {"response_format": held}) / free
        if number:  # the first round is for warmth: a grammar is compiled once
            ratios.append(ratio)
    return min(ratios), percentile(ratios, 0.5), max(ratios)


async def _refused(gateway: Gateway, model: str, held: Mapping[str, object]) -> int:
    """The status with which a short request of this format is refused, or 0."""
    connection = await Connection.open(gateway.port, gateway.keys["clinician"])
    try:
        await connection.chat(chat_body("Say it.", model=model, tokens=1, response_format=held))
    except RefusedError as error:
        return error.status
    finally:
        await connection.close()
    return 0


def _speed(gateway: Gateway, model: str, texts: Texts, more: Mapping[str, object]) -> float:
    asked = bodies(texts.take(100, 2 * PARALLEL), model, **more)
    outcome: Outcome = run(Job(gateway.port, PARALLEL, asked, gateway.keys["clinician"]))
    return outcome.tokens_per_s
