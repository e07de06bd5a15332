"""The values that cross parts. Frozen; text and values never stand in a repr.

Offsets are Python string indices (code points), end exclusive. Scores are in [0, 1].
Nothing here imports a framework, reads a clock or draws a random number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum, StrEnum

# Python 3.11 has no ``type`` statement; the recursion is spelled with a forward reference.
Json = "None | bool | int | float | str | list[Json] | dict[str, Json]"

Clock = Callable[[], datetime]
"""Returns the present moment, timezone-aware UTC."""


# --- who asks, and what for ------------------------------------------------------------------


class Role(StrEnum):
    """What a key is for. Duties exclude each other: one key has exactly one role (DESIGN §3)."""

    CLINICIAN = "clinician"
    LAWYER = "lawyer"
    RESEARCHER = "researcher"
    ADMIN = "admin"
    AUDITOR = "auditor"


class Purpose(StrEnum):
    TREATMENT = "treatment"
    PAYMENT = "payment"
    OPERATIONS = "operations"
    RESEARCH = "research"
    LEGAL_ADVICE = "legal-advice"
    LITIGATION = "litigation"
    PUBLIC_INTEREST = "public-interest"
    MARKETING = "marketing"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of an API key, as the key store knows it."""

    id: str
    role: Role
    purposes: frozenset[Purpose]
    default_purpose: Purpose
    matters: frozenset[str] = frozenset()
    key_id: str = ""


# --- the prompt: every string in it reaches the model unless it is masked -----------------------


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call in the history. ``arguments`` is JSON text as the client sent it."""

    id: str
    name: str = field(repr=False)
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Multi-part text arrives here already joined with newlines (``api/schemas``)."""

    role: str  # system | developer | user | assistant | tool
    content: str | None = field(repr=False, default=None)
    name: str | None = field(repr=False, default=None)
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Tool:
    name: str = field(repr=False)
    description: str | None = field(repr=False, default=None)
    parameters: Mapping[str, object] | None = field(repr=False, default=None)  # a JSON Schema
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """``kind`` is text | json_object | json_schema | extractive | grounded.

    ``grounded``: free words, but every placeholder, number, date, code and quotation of the answer
    stands in the prompt.
    """

    kind: str = "text"
    name: str | None = field(repr=False, default=None)
    description: str | None = field(repr=False, default=None)
    schema: Mapping[str, object] | None = field(repr=False, default=None)
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn, and how many answers there are (``n``).

    ``logprobs``: how many alternatives are told of each token; None: nothing is told of any.
    ``logit_bias``: pairs of a token's id in the model and what is added to its logit.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    n: int = 1
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that would reach the model. ``pii/segments.py`` visits every string of it.

    ``raw``: the one user message is continued as it stands, without the model's chat template.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None  # auto | none | required | function:NAME
    parallel_tool_calls: bool | None = None
    stop: tuple[str, ...] = field(repr=False, default=())
    response_format: ResponseFormat = ResponseFormat()
    sampling: Sampling = Sampling()
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A request after the schema: who, why, and the prompt."""

    principal: Principal
    purpose: Purpose
    prompt: Prompt
    model: str | None = None
    matter: str | None = field(repr=False, default=None)
    subject: str | None = field(repr=False, default=None)
    extra_policies: tuple[str, ...] = ()
    stream: bool = False
    record_numbers: tuple[str, ...] = field(repr=False, default=())


# --- detection and decision ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """Personal data at ``text[start:end]`` of one segment. ``source`` names the recognizer."""

    entity_type: str
    start: int
    end: int
    score: float
    source: str = ""


class Band(IntEnum):
    """How sure a finding is, in words that a policy can use: low < .5 <= medium < .85 <= high."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2


MEDIUM_FROM, HIGH_FROM = 0.5, 0.85
"""Scores from which on a finding is of the band. Policies and records depend on them."""

_BANDS = tuple(Band)


def band_of(score: float) -> Band:
    """The band of a score. What cannot be compared (NaN) counts as high: the stricter."""
    return _BANDS[2 - (score < HIGH_FROM) - (score < MEDIUM_FROM)]


class Category(StrEnum):
    """Data that Art. 9(1) and 10 of the GDPR set apart. A property of a request, not of a span."""

    HEALTH = "health"
    BELIEF = "belief"
    POLITICS = "politics"
    UNION = "union"
    SEX_LIFE = "sex-life"
    ETHNICITY = "ethnicity"
    GENETICS = "genetics"
    BIOMETRICS = "biometrics"
    CRIMINAL = "criminal"


class Operator(IntEnum):
    """What the model learns of a value, most first; the maximum of two is the stricter."""

    KEEP = 0
    GENERALIZE = 1
    SURROGATE = 2
    PSEUDONYM = 3
    REDACT = 4
    BLOCK = 5


@dataclass(frozen=True, slots=True)
class Citation:
    """Why a rule applied: enough to find the line of the policy and the clause of the law."""

    policy: str
    rule: str
    clause: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """What happens to one finding. ``restore``: this role may see the value again."""

    operator: Operator
    restore: bool
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class StageRequirement:
    """A guard that policy requires. Actions: annotate < regenerate < withhold < refuse."""

    stage: str
    action: str
    citations: tuple[Citation, ...] = ()


class Decoding(StrEnum):
    """What an answer may consist of, most first; see ``ResponseFormat``."""

    FREE = "free"
    GROUNDED = "grounded"
    EXTRACTIVE = "extractive"

    @property
    def level(self) -> int:
        """Higher allows less: the maximum of two is the stricter. Members compare as strings."""
        return _DECODINGS.index(self)


_DECODINGS = tuple(Decoding)


@dataclass(frozen=True, slots=True)
class ModelConstraints:
    """``tags`` must all be on the model; a ``zone`` must be among ``zones`` unless that is None.

    ``decoding`` is what the answer is held to at least.
    """

    tags: frozenset[str] = frozenset()
    zones: frozenset[str] | None = None
    decoding: Decoding = Decoding.FREE


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a request's keys live, in months: from ``at_least`` to ``at_most`` (None: no end).

    ``floor``: how long of ``at_least`` a request to erase is refused, too.
    """

    at_least: int = 0
    at_most: int | None = None
    floor: int = 0

    def join(self, other: Retention) -> Retention:
        """The intersection: the greatest floors and the smallest ceiling."""
        ends = [end for end in (self.at_most, other.at_most) if end is not None]
        return Retention(
            max(self.at_least, other.at_least),
            min(ends, default=None),
            max(self.floor, other.floor),
        )

    @property
    def empty(self) -> bool:
        """Whether no period is long enough and short enough."""
        return self.at_most is not None and self.at_least > self.at_most

    def months(self, preferred: int) -> int:
        """The period nearest to the preferred one. Where there is none, what must be is kept."""
        most = preferred if self.at_most is None else min(preferred, self.at_most)
        return max(most, self.at_least)


@dataclass(frozen=True, slots=True)
class Decision:
    """``rulings[i]`` is for ``findings[i]``. ``denied`` non-empty: the request stops here."""

    rulings: tuple[Ruling, ...]
    denied: tuple[Citation, ...] = ()
    constraints: ModelConstraints = ModelConstraints()
    stages: tuple[StageRequirement, ...] = ()
    restore_tools: frozenset[str] = frozenset()
    obligations: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    retention: Retention = Retention()


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """A policy in force, by name, version and SHA-256 of its bytes (hex)."""

    name: str
    version: str
    digest: str


# --- models and answers --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What routing and the ledger know of a model. ``digest``: SHA-256 of the weights, hex.

    ``writes`` False: it gives vectors of texts and no answers.
    """

    name: str
    digest: str
    backend: str  # llama | remote
    size_bytes: int
    context: int
    decoding: Decoding = Decoding.FREE
    tags: frozenset[str] = frozenset()
    zone: str = "local"
    template_digest: str = ""
    license: str = ""
    quantization: str = ""
    base: str = ""  # of an adapter: the model it changes; ``digest`` is then the adapter's
    base_digest: str = ""
    writes: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """The choice and why: ``reason`` is a constant of ``routing/choose.py``."""

    model: ModelCard
    reason: str
    intent: str = "unsure"
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them.

    ``cached_tokens``: of the prompt's, those it did not have to compute. ``processor_s``: seconds
    of processor time that the answer took, its share of every batch it was in; 0: not known.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    processor_s: float = 0.0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class FinishReason(Enum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of the masked answer and how likely it was: natural logarithms.

    ``token`` is its bytes, which need not be whole characters; ``top`` the likeliest ones.
    """

    token: bytes = field(repr=False)
    logprob: float
    top: tuple[tuple[bytes, float], ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. The last one of each answer (``index``) has ``finish`` and ``usage``.

    Tool calls arrive whole: an argument string is only valid, and only restored, when complete.
    Of several answers to one prompt the first to end counts the prompt's tokens, the others 0.
    """

    text: str = field(repr=False, default="")
    tool_calls: tuple[ToolCall, ...] = ()
    finish: FinishReason | None = None
    usage: Usage | None = None
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A guard's answer. ``evidence`` holds offsets and constants, never text.

    ``choice``: which of several answers it is on; None: on the prompt.
    """

    stage: str
    passed: bool
    code: str = "ok"
    evidence: tuple[Mapping[str, object], ...] = ()
    choice: int | None = None
