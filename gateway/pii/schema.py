"""The strings of a JSON Schema: which describe data, and which are structure.

What describes data (titles, enums, defaults, names of properties) is masked like any text; names of
properties stay consistent because the same text has the same placeholder everywhere. Structure
(``pattern``, ``$ref``, the keys of ``$defs``) cannot carry a placeholder without changing what the
schema says: it is of ``Kind.NAME``, and a finding in it is refused. Unknown keywords are structure
by their key and data by their value. Vocabulary: JSON Schema 2020-12 and draft-07.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from gateway.errors import RequestError
from gateway.pii.segment import SETUP_TURN, Kind, Segment, Visit

MAX_DEPTH = 64


class _Holds(Enum):
    """What the value of a keyword is."""

    SCHEMA = auto()  # a schema, or a list of schemas
    BY_PROPERTY = auto()  # name of a property -> schema
    BY_NAME = auto()  # a fixed key -> schema
    PROPERTIES = auto()  # names of properties
    TEXT = auto()
    DATA = auto()  # any JSON
    FIXED = auto()  # any JSON that must stay as it is
    CLOSED = auto()  # numbers of small things and booleans: nothing to detect


_VOCABULARY = {
    _Holds.SCHEMA: "items additionalProperties additionalItems not if then else contains"
    " propertyNames unevaluatedItems unevaluatedProperties contentSchema allOf anyOf oneOf"
    " prefixItems",
    _Holds.BY_PROPERTY: "properties dependentSchemas",
    _Holds.BY_NAME: "patternProperties $defs definitions",
    _Holds.PROPERTIES: "required dependentRequired",
    _Holds.TEXT: "title description $comment",
    _Holds.DATA: "enum const default examples example",
    _Holds.FIXED: "type pattern format $ref $id $schema $anchor $dynamicRef $dynamicAnchor"
    " $vocabulary contentEncoding contentMediaType minimum maximum exclusiveMinimum"
    " exclusiveMaximum multipleOf",
    _Holds.CLOSED: "minLength maxLength minItems maxItems minProperties maxProperties"
    " minContains maxContains uniqueItems deprecated readOnly writeOnly nullable",
}
_HOLDS: Mapping[str, _Holds] = MappingProxyType(
    {keyword: holds for holds, keywords in _VOCABULARY.items() for keyword in keywords.split()}
)

# Structure that says nothing of anyone: it is not read, so a detector cannot mistake it (a
# meta-schema's address for a URL, the limit of an integer type for a telephone number).
_CLOSED_TEXTS = frozenset(
    [
        *("string", "number", "integer", "boolean", "object", "array", "null"),
        *(
            "date",
            "date-time",
            "time",
            "duration",
            "email",
            "idn-email",
            "hostname",
            "ipv4",
            "ipv6",
        ),
        *("uri", "uri-reference", "iri", "uuid", "regex", "json-pointer", "int32", "int64"),
        *("float", "double", "byte", "binary", "password"),
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    ]
)
_SMALL = 100_000  # a count of things; what is larger could identify somebody
_WORD_SIZES = (8, 16, 31, 32, 53, 63, 64)
_LIMITS = frozenset(
    sign * limit for bits in _WORD_SIZES for limit in (2**bits, 2**bits - 1) for sign in (1, -1)
)


def walk_schema(schema: Mapping[str, object], path: str, visit: Visit) -> dict[str, object]:
    """The schema with what ``visit`` returned in the place of each of its strings.

    Raises:
        RequestError: it is nested deeper than ``MAX_DEPTH``, or two keys became one.
    """
    return _Walk(path, visit).schema(schema, 0)


class _Walk:
    def __init__(self, path: str, visit: Visit) -> None:
        self._path = path
        self._visit = visit

    def schema(self, schema: Mapping[str, object], depth: int) -> dict[str, object]:
        self._check_depth(depth)
        rebuilt = {}
        for keyword, value in schema.items():
            holds = _HOLDS.get(keyword)
            if holds is None:
                self._text(keyword, Kind.NAME)
                holds = _Holds.DATA
            rebuilt[keyword] = self._value(holds, value, depth + 1)
        return rebuilt

    def _value(self, holds: _Holds, value: object, depth: int) -> object:
        """The value of a keyword; a value that is not what the keyword holds is data."""
        if holds is _Holds.SCHEMA:
            return self._schemas(value, depth)
        if holds in (_Holds.BY_PROPERTY, _Holds.BY_NAME) and isinstance(value, Mapping):
            kind = Kind.JSON_KEY if holds is _Holds.BY_PROPERTY else Kind.NAME
            return self._keyed(
                value, kind, {key: self._schemas(item, depth) for key, item in value.items()}
            )
        if holds is _Holds.CLOSED and isinstance(value, int | float) and abs(value) < _SMALL:
            return value
        kind = {
            _Holds.FIXED: Kind.NAME,
            _Holds.CLOSED: Kind.NAME if isinstance(value, int | float) else Kind.JSON_STRING,
            _Holds.PROPERTIES: Kind.JSON_KEY,
            _Holds.TEXT: Kind.TEXT,
        }.get(holds, Kind.JSON_STRING)
        return self._data(value, depth, kind)

    def _schemas(self, value: object, depth: int) -> object:
        if isinstance(value, Mapping):
            return self.schema(value, depth)
        if isinstance(value, list | tuple):
            self._check_depth(depth)
            return [self._schemas(item, depth + 1) for item in value]
        return self._data(value, depth, Kind.JSON_STRING)

    def _data(self, value: object, depth: int, kind: Kind, label: str | None = None) -> object:
        """Any JSON, its strings of this kind."""
        self._check_depth(depth)
        if isinstance(value, Mapping):
            keys = Kind.NAME if kind is Kind.NAME else Kind.JSON_KEY
            return self._keyed(
                value,
                keys,
                {key: self._data(item, depth + 1, kind, key) for key, item in value.items()},
            )
        if isinstance(value, list | tuple):
            return [self._data(item, depth + 1, kind, label) for item in value]
        return self._scalar(value, kind, label)

    def _scalar(self, value: object, kind: Kind, label: str | None) -> object:
        if value is None or isinstance(value, bool):
            return value
        if kind is Kind.NAME and (value in _CLOSED_TEXTS or value in _LIMITS):
            return value
        if isinstance(value, str):
            return self._text(value, kind, label)
        try:
            text = repr(value)
        except ValueError:  # more digits than Python will write
            raise RequestError("A number of the schema is too long.", param=self._path) from None
        masked = self._text(text, Kind.NAME if kind is Kind.NAME else Kind.JSON_NUMBER, label)
        return value if masked == text else masked

    def _keyed(
        self, before: Mapping[str, object], kind: Kind, values: Mapping[str, object]
    ) -> dict[str, object]:
        rebuilt = {self._text(key, kind): values[key] for key in before}
        if len(rebuilt) != len(before):
            message = "Two keys of the schema became one when they were masked."
            raise RequestError(message, param=self._path)
        return rebuilt

    def _text(self, text: str, kind: Kind, label: str | None = None) -> str:
        return self._visit(Segment(self._path, SETUP_TURN, text, kind, label))

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise RequestError("The schema is nested too deeply.", param=self._path)
