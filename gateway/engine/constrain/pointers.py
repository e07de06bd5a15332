"""JSON pointers of ``$ref`` (RFC 6901), within the document they stand in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from gateway.engine.constrain.refusals import cannot, malformed


def resolve(document: object, pointer: str, param: str) -> object:
    """Return what ``pointer`` names.

    Raises:
        RequestError: it is a name or another document, or names nothing.
    """
    target: Any = document
    if pointer != "#" and not pointer.startswith("#/"):
        raise cannot(param, "$ref")
    for part in pointer.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping) and key in target:
            target = target[key]
        elif isinstance(target, list | tuple) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            raise malformed(param, "$ref")
    return target
