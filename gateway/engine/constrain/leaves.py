"""What a schema says of numbers, strings and enumerated values, read and checked. Pure.

Each function returns normalised keywords of the schema it is given, or refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from gateway.engine.constrain import keywords as words
from gateway.engine.constrain.patterns import is_common
from gateway.engine.constrain.refusals import cannot, malformed

MAX_LENGTH: Final = 20_000  # characters that must or may be counted
MAX_PATTERN: Final = 1_000  # characters
_MAX_DIGITS: Final = 40  # of a bound, written out
_EXACT: Final = 2**53
"""The compiler of grammars reads numbers as doubles: a larger integer becomes its neighbour."""


def is_exact(value: object) -> bool:
    """Whether every integer in ``value``, any JSON, is read as what it is."""
    if isinstance(value, Mapping):
        return all(map(is_exact, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_exact, value))
    return not isinstance(value, int) or abs(value) <= _EXACT


def types_of(schema: Mapping[str, Any], param: str) -> tuple[str, ...]:
    given = schema.get("type", words.TYPES)
    types = (given,) if isinstance(given, str) else given
    if not isinstance(types, list | tuple) or not types:
        raise malformed(param, "type")
    if not all(isinstance(one, str) and one in words.TYPES for one in types):
        raise malformed(param, "type")
    return tuple(types)


def count(schema: Mapping[str, Any], keyword: str, most: int, param: str) -> int:
    value = schema[keyword]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise malformed(param, keyword)
    if value > most:
        raise cannot(param, keyword)
    return value


def pattern(value: object, keyword: str, param: str) -> str:
    if not isinstance(value, str):
        raise malformed(param, keyword)
    if len(value) > MAX_PATTERN or not is_common(value):
        raise cannot(param, keyword)
    return value


def of_strings(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
    own: dict[str, Any] = {
        keyword: count(schema, keyword, MAX_LENGTH, param)
        for keyword in ("minLength", "maxLength")
        if keyword in schema
    }
    if own.get("minLength") == 0:
        del own["minLength"]
    if "pattern" in schema:
        own["pattern"] = pattern(schema["pattern"], "pattern", param)
    if "format" in schema:
        named = schema["format"]
        if not isinstance(named, str) or named not in words.FORMATS:
            raise cannot(param, "format")
        own["format"] = named
    return own


def of_numbers(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
    own = {key: schema[key] for key in words.NUMERIC if key in schema}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        # Draft 04 has a boolean here, which says how to read the bound.
        if isinstance(own.get(exclusive), bool) and own.pop(exclusive) and bound in own:
            own[exclusive] = own.pop(bound)
    for keyword, value in own.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise malformed(param, keyword)
        if not is_exact(value) or abs(value) >= 10**_MAX_DIGITS or not math.isfinite(value):
            raise cannot(param, keyword)
        if keyword == "multipleOf" and value <= 0:
            raise malformed(param, keyword)
    return own
