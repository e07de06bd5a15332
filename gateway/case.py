"""One request while it runs: what the steps have found out so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway.domain import Ask, Chunk, Decision, Prompt, Route, Verdict
from gateway.errors import EngineError
from gateway.guards.port import Exchange
from gateway.policy.decide import PolicySet
from gateway.protect import Protected

NOTHING_YET = Prompt(messages=())
UNDECIDED = Protected((), Decision(rulings=()))


@dataclass(slots=True)
class Case:
    """Lives as long as the request and holds its mapping; never stored, never logged.

    ``prompt`` is the masked one. ``operation``: chat | completion | embeddings. ``generated``: what
    the model said, masked, by the answer's index. ``attempts``: intents so far. ``closed``: an
    outcome is on record, or on its way there.
    """

    ask: Ask
    rid: str
    began: datetime
    policies: PolicySet
    operation: str = "chat"
    prompt: Prompt = NOTHING_YET
    protected: Protected = UNDECIDED
    route: Route | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    annotations: list[Verdict] = field(default_factory=list)
    generated: dict[int, list[str]] = field(default_factory=dict, repr=False)
    attempts: int = 0
    closed: bool = False

    def take(self, chunk: Chunk) -> None:
        """Keep what the model said, masked, for guards and the record."""
        said = self.generated.setdefault(chunk.index, [])
        said.append(chunk.text)
        said += [f"\n{call.name}({call.arguments})" for call in chunk.tool_calls]

    def answers(self) -> tuple[str, ...]:
        """The masked answers so far, in their order; one that has not begun is empty."""
        count = max(self.generated, default=-1) + 1
        return tuple("".join(self.generated.get(index, ())) for index in range(count))

    def exchange(self, answer: str | None = None) -> Exchange:
        """What a guard may look at."""
        return Exchange(
            prompt=self.prompt,
            purpose=self.ask.purpose,
            intent=self.route.intent if self.route else "unsure",
            placeholders=frozenset(self.protected.mapping),
            answer=answer,
        )

    def routed(self) -> Route:
        """The route. Raises EngineError where there is none: no route, no generation."""
        if self.route is None:
            raise EngineError
        return self.route
