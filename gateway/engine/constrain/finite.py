"""Whether any finite value can meet a narrowed schema. Pure.

A schema that demands itself inside itself has no finite value, and a grammar of it never ends.
The check is the least fixed point of "can be met" over the definitions. It is necessary, not
sufficient: bounds and patterns that contradict each other are found where the grammar is compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import RequestError

_SCALARS: Final = frozenset(["string", "number", "integer", "boolean", "null"])
_REF: Final = len("#/$defs/")


def check_finite(root: Any, defs: Mapping[str, Any], param: str) -> None:
    """Raises: RequestError: no finite value meets ``root``."""
    met: set[str] = set()
    while True:
        more = {name for name, one in defs.items() if name not in met and _can_be_met(one, met)}
        if not more:
            break
        met |= more
    if not _can_be_met(root, met):
        raise RequestError("No value satisfies the schema.", param=param)


def _can_be_met(schema: Any, met: set[str]) -> bool:
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and schema["$ref"][_REF:] not in met:
        return False
    if not all(_can_be_met(one, met) for one in schema.get("allOf", ())):
        return False
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and not any(_can_be_met(one, met) for one in schema[keyword]):
            return False
    given = schema.get("type")
    types = [given] if isinstance(given, str) else given
    if types is None or "enum" in schema or _SCALARS & set(types):
        return True
    return ("array" in types and _array(schema, met)) or (
        "object" in types and _object(schema, met)
    )


def _array(schema: Any, met: set[str]) -> bool:
    prefix, rest = schema.get("prefixItems", []), schema.get("items", True)
    least = schema.get("minItems", 0)
    if not all(_can_be_met(item, met) for item in prefix[:least]):
        return False
    return least <= len(prefix) or _can_be_met(rest, met)


def _object(schema: Any, met: set[str]) -> bool:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    # Of a key that a pattern covers the pattern decides; that is left to the compiler.
    patterned = bool(schema.get("patternProperties"))
    return all(
        _can_be_met(properties[key], met)
        if key in properties
        else patterned or _can_be_met(others, met)
        for key in schema.get("required", ())
    )
