"""The vocabulary of JSON Schema: which keywords a grammar enforces, and which it cannot.

Sources: JSON Schema 2020-12 (core, applicator, validation, format) and drafts 04 to 07.
"""

from __future__ import annotations

from typing import Final

TYPES: Final = ("string", "number", "integer", "boolean", "null", "array", "object")

_ENFORCED: Final = """
    type enum const properties required additionalProperties patternProperties minProperties
    maxProperties items prefixItems additionalItems minItems maxItems minLength maxLength pattern
    format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf anyOf oneOf allOf $ref $defs
    definitions
"""
ENFORCED: Final = frozenset(_ENFORCED.split())

_NOTES: Final = """
    title description default examples example deprecated readOnly writeOnly $comment $schema $id
    id contentEncoding contentMediaType contentSchema
"""
NOTES: Final = frozenset(_NOTES.split())
"""They assert nothing of an instance, so a grammar leaves them out."""

_REFUSED: Final = """
    not if then else contains minContains maxContains uniqueItems propertyNames dependentRequired
    dependentSchemas dependencies unevaluatedItems unevaluatedProperties $dynamicRef $dynamicAnchor
    $recursiveRef $recursiveAnchor $anchor $vocabulary $schema $id
"""
PUBLISHED: Final = ENFORCED | frozenset(_REFUSED.split())
"""What a message may name: these words say nothing of anyone."""

NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "uniqueItems": (False,),
    "nullable": (False,),
    "not": (False,),
    "propertyNames": (True, {}),
    "unevaluatedProperties": (True, {}),
    "unevaluatedItems": (True, {}),
    "$vocabulary": ({},),
}
"""Values with which a keyword that is not enforced forbids nothing."""

EXTENSION: Final = "x-"
"""Keys that begin so are notes to other programs."""

REF_ALONE: Final = frozenset(f"http://json-schema.org/draft-0{n}/schema" for n in (4, 6, 7))
"""In these dialects the neighbours of ``$ref`` are ignored."""
DIALECTS: Final = REF_ALONE | frozenset(
    [
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
        "http://json-schema.org/schema",
    ]
)

FORMATS: Final = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
)
NUMERIC: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
