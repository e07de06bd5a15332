"""Step 11 of a request: placeholders back, where policy lets this role see the values.

Synchronous and incremental. While a required stage may still withhold the answer it is *held*:
nothing leaves before ``finish``.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.domain import Chunk, FinishReason, Prompt, ToolCall
from gateway.pii.restore import JsonRestorer, Report, Restorer, check_json, restore_arguments
from gateway.protect import Protected

_JSON_KINDS = frozenset({"json_object", "json_schema"})


class Answer:
    """The answer of one request on its way back. ``tag``: random, new for each answer."""

    def __init__(self, prompt: Prompt, protected: Protected, tag: str, *, held: bool) -> None:
        self._json = prompt.response_format.kind in _JSON_KINDS
        kind = JsonRestorer if self._json else Restorer
        self._restorer: JsonRestorer | Restorer = kind(protected.mapping, tag)
        self._protected = protected
        self._tag = tag
        self._held = held
        self._kept: list[str] = []
        self._calls = Report()

    @property
    def report(self) -> Report:
        return self._restorer.report + self._calls

    def feed(self, text: str) -> str:
        """What may leave after this piece of masked text."""
        restored = self._restorer.feed(text)
        if not (self._held or self._json):
            return restored
        self._kept.append(restored)
        return "" if self._held else restored

    def finish(self, last: Chunk) -> Chunk:
        """The last chunk, restored, with all that was held back.

        Raises:
            RestoreError: a complete JSON answer is no longer JSON.
        """
        rest = self._restorer.finish()
        if self._json and last.finish is FinishReason.STOP:
            check_json("".join(self._kept) + rest)
        held = "".join(self._kept) if self._held else ""
        calls = tuple(self._restored(i, call) for i, call in enumerate(last.tool_calls, 1))
        return replace(last, text=held + rest, tool_calls=calls)

    def _restored(self, number: int, call: ToolCall) -> ToolCall:
        """A tool call as the client gets it, under an id of ours: the model's may hold anything."""
        allowed = call.name in self._protected.decision.restore_tools
        arguments, report = restore_arguments(
            call.arguments, self._protected.mapping, self._tag, allowed=allowed
        )
        self._calls += report
        return ToolCall(f"call_{self._tag}_{number}", call.name, arguments)
