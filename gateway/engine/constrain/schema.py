"""A JSON Schema -> the schema that a grammar enforces, or a refusal. Pure.

What comes out is normalised (dialect 2020-12, every ``$ref`` into flat ``$defs``, no text that is
only a note) and allows what went in allowed, and one thing more: where a value is narrower than
any string (a number, a format, a pattern, a length), the string of a placeholder may stand. The
gateway puts the value back afterwards. Enumerations hold the placeholders that belong to them
already: the schema was masked with the prompt. A boolean is never masked.

Nothing is ignored in silence: a keyword that cannot be enforced is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.engine.constrain import keywords as words
from gateway.engine.constrain.finite import check_finite
from gateway.engine.constrain.leaves import (
    count,
    is_exact,
    of_numbers,
    of_strings,
    pattern,
    types_of,
)
from gateway.engine.constrain.pointers import resolve
from gateway.engine.constrain.refusals import cannot, contradiction, malformed, refused

MAX_DEPTH: Final = 20  # schemas within schemas
MAX_NODES: Final = 2_000
MAX_PROPERTIES: Final = 500  # in all
MAX_VALUES: Final = 2_000  # of enumerations, in all
MAX_REPEAT: Final = 1_000  # items or properties that must or may be counted
MAX_BYTES: Final = 128 * 1024

_PLACEHOLDERS: Final = "placeholders"


@dataclass(frozen=True, slots=True)
class Narrowed:
    """``root`` may refer to ``#/$defs/NAME``. Placeholders are in neither of their texts' reprs."""

    root: Any = field(repr=False)
    defs: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How to read a schema.

    ``admit``: ``placeholders`` may stand at narrow leaves; exclusive choices (``oneOf``) are then
    plain ones, which is the same where the grammar of the schema without ``admit`` was accepted.
    ``tag`` begins the names of definitions. ``strict``: as OpenAI demands of strict schemas.
    """

    param: str
    strict: bool = False
    placeholders: Sequence[str] = field(repr=False, default=())
    admit: bool = True
    tag: str = "s"


def narrow(schema: object, terms: Terms) -> Narrowed:
    """Return what a grammar enforces.

    Raises:
        RequestError: too large, not a schema, not enforceable, or met by no finite value.
    """
    try:
        size = len(json.dumps(schema, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, RecursionError, TypeError):
        raise refused(terms.param, "The schema is not valid JSON or nests too deeply.") from None
    if size > MAX_BYTES:
        raise refused(terms.param, "The schema is too large.")
    work = _Narrowing(schema, terms)
    root = work.node(schema, 0)
    work.follow()
    narrowed = Narrowed(root, work.defs)
    check_finite(narrowed.root, narrowed.defs, terms.param)
    return narrowed


class _Narrowing:
    def __init__(self, document: object, terms: Terms) -> None:
        self._document = document
        self._param = terms.param
        self._strict = terms.strict
        self._placeholders = tuple(terms.placeholders)
        self._admit = terms.admit and bool(terms.placeholders)
        self._tag = terms.tag
        self._names: dict[str, str] = {}
        self._waiting: list[tuple[str, object]] = []
        self._nodes = self._properties = self._values = 0
        self._ref_alone = False
        self.defs: dict[str, Any] = {}
        if self._admit:
            self.defs[self._tag + _PLACEHOLDERS] = {"enum": list(self._placeholders)}

    def follow(self) -> None:
        """Narrow what was referred to, and what that refers to."""
        while self._waiting:
            name, target = self._waiting.pop()
            self.defs[name] = self.node(target, 0)

    def node(self, schema: object, depth: int) -> Any:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise refused(self._param, "The schema is nested too deeply.")
        if self._nodes > MAX_NODES:
            raise refused(self._param, "The schema is too large.")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise refused(self._param, "The schema is malformed.")
        self._check_keywords(schema, root=schema is self._document)
        if "$ref" in schema and self._ref_alone:
            schema = {"$ref": schema["$ref"]}
        own = self._leaf(schema)
        out = self._parts(schema, depth)
        return self._joined(out, own)

    # --- keywords ------------------------------------------------------------------------------

    def _check_keywords(self, schema: Mapping[str, Any], *, root: bool) -> None:
        for keyword, value in schema.items():
            known = keyword in words.ENFORCED or keyword in words.NOTES
            neutral = any(value is one or value == one for one in words.NEUTRAL.get(keyword, ()))
            if not (known or neutral or keyword.startswith(words.EXTENSION)):
                raise cannot(self._param, keyword)
        dialect = schema.get("$schema")
        if dialect is not None:
            if not isinstance(dialect, str) or dialect.rstrip("#") not in words.DIALECTS:
                raise cannot(self._param, "$schema")
            self._ref_alone = dialect.rstrip("#") in words.REF_ALONE
        if not root and ("$id" in schema or "$schema" in schema):
            raise cannot(self._param, "$id" if "$id" in schema else "$schema")

    # --- leaves --------------------------------------------------------------------------------

    def _leaf(self, schema: Mapping[str, Any]) -> Any:
        """What the schema itself says of a scalar, with the placeholders that may stand for it."""
        types = types_of(schema, self._param)
        own: dict[str, Any] = {"type": list(types)} if "type" in schema else {}
        own |= of_numbers(schema, self._param)
        strings = of_strings(schema, self._param) if "string" in types else {}
        own |= strings
        if "enum" in schema or "const" in schema:
            return self._chosen(schema, own)
        masked = {"string", "number", "integer"} & set(types)
        if self._admit and masked and ("string" not in types or strings):
            return {"anyOf": [own, {"$ref": f"#/$defs/{self._tag}{_PLACEHOLDERS}"}]}
        return own

    def _chosen(self, schema: Mapping[str, Any], own: dict[str, Any]) -> Any:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(values, list | tuple) or not values:
            raise malformed(self._param, "enum")
        if "const" in schema and "enum" in schema and schema["const"] not in schema["enum"]:
            raise contradiction(self._param)
        if not is_exact(values):
            raise cannot(self._param, "const" if "const" in schema else "enum")
        self._values += len(values)
        if self._values > MAX_VALUES:
            raise refused(self._param, "The schema enumerates too many values.")
        # A masked number became a string: it is one of the values, whatever type is demanded.
        marked = [
            value
            for value in values
            if isinstance(value, str) and any(one in value for one in self._placeholders)
        ]
        chosen = {**own, "enum": list(values)}
        return {"anyOf": [chosen, {"enum": marked}]} if marked and own else chosen

    # --- what holds other schemas ----------------------------------------------------------------

    def _parts(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        types = types_of(schema, self._param)
        if "object" in types:
            out |= self._object(schema, depth)
        if "array" in types:
            out |= self._array(schema, depth)
        conjuncts = self._list(schema, "allOf", depth)
        either = self._list(schema, "anyOf", depth)
        one_of = self._list(schema, "oneOf", depth)
        if either:
            out["anyOf"] = either
        if one_of and not self._admit:
            out["oneOf"] = one_of
        elif one_of and either:
            conjuncts.append({"anyOf": one_of})
        elif one_of:
            out["anyOf"] = one_of
        if "$ref" in schema:
            out["$ref"] = self._ref(schema["$ref"])
        if conjuncts:
            out["allOf"] = conjuncts
        return out

    def _joined(self, parts: dict[str, Any], own: Any) -> Any:
        """Both in one schema. An alternative beside other schemas is one conjunct of them."""
        if not parts or set(own) != {"anyOf"}:
            return {**own, **parts}
        return {**parts, "allOf": [*parts.get("allOf", []), own]}

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = self._keyed(schema, "properties", depth)
        patterns = self._keyed(schema, "patternProperties", depth)
        for key in patterns:
            pattern(key, "patternProperties", self._param)
        self._properties += len(properties) + len(patterns)
        if self._properties > MAX_PROPERTIES:
            raise refused(self._param, "The schema has too many properties.")
        required = self._required(schema)
        out: dict[str, Any] = {}
        if properties:
            out["properties"] = properties
        if patterns:
            out["patternProperties"] = patterns
        if required:
            out["required"] = required
        if "additionalProperties" in schema:
            out["additionalProperties"] = self.node(schema["additionalProperties"], depth + 1)
        if self._strict and ("properties" in schema or schema.get("type") == "object"):
            self._check_strict(schema, properties, required)
        return out | self._sizes(schema, required)

    def _check_strict(
        self, schema: Mapping[str, Any], properties: Iterable[str], required: Sequence[str]
    ) -> None:
        if schema.get("additionalProperties") is not False:
            raise refused(self._param, "strict needs additionalProperties: false in every object.")
        if not set(properties) <= set(required):
            raise refused(self._param, "strict needs every property in required.")

    def _sizes(self, schema: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
        out = {
            keyword: count(schema, keyword, MAX_REPEAT, self._param)
            for keyword in ("minProperties", "maxProperties")
            if keyword in schema
        }
        # A grammar counts keys, and cannot see that the same one was written twice.
        if out.get("minProperties", 0) <= len(required):
            out.pop("minProperties", None)
        elif out["minProperties"] > 1:
            raise cannot(self._param, "minProperties")
        return out

    def _array(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        prefix = self._list(schema, "prefixItems", depth)
        rest = schema.get("items", True)
        if isinstance(rest, list | tuple):  # before 2020-12
            prefix = [self.node(item, depth + 1) for item in rest]
            rest = schema.get("additionalItems", True)
        if prefix:
            out["prefixItems"] = prefix
        if rest is not True:
            out["items"] = self.node(rest, depth + 1)
        for keyword in ("minItems", "maxItems"):
            if keyword in schema:
                out[keyword] = count(schema, keyword, MAX_REPEAT, self._param)
        return out

    def _ref(self, pointer: object) -> str:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise cannot(self._param, "$ref")
        name = self._names.get(pointer)
        if name is None:
            name = self._names[pointer] = f"{self._tag}{len(self._names)}"
            self._waiting.append((name, resolve(self._document, pointer, self._param)))
        return f"#/$defs/{name}"

    # --- values ----------------------------------------------------------------------------------

    def _list(self, schema: Mapping[str, Any], keyword: str, depth: int) -> list[Any]:
        if keyword not in schema:
            return []
        schemas = schema[keyword]
        if not isinstance(schemas, list | tuple) or not schemas:
            raise malformed(self._param, keyword)
        return [self.node(one, depth + 1) for one in schemas]

    def _keyed(self, schema: Mapping[str, Any], keyword: str, depth: int) -> dict[str, Any]:
        schemas = schema.get(keyword, {})
        if not isinstance(schemas, Mapping):
            raise malformed(self._param, keyword)
        return {key: self.node(one, depth + 1) for key, one in schemas.items()}

    def _required(self, schema: Mapping[str, Any]) -> list[str]:
        required = schema.get("required", [])
        if not isinstance(required, list | tuple) or not all(isinstance(k, str) for k in required):
            raise malformed(self._param, "required")
        return list(dict.fromkeys(required))
