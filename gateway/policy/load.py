"""Bytes in, a ``Policy`` or a ``PolicyFileError`` out."""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import PolicyFileError
from gateway.policy.lint import check_bands, check_retention, check_shifted_dates
from gateway.policy.read import read_policy
from gateway.yamlfile import read as yaml
from gateway.yamlfile.read import MAX_BYTES

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from gateway.policy.model import Policy
    from gateway.yamlfile.node import Node

SHIPPED = ("gdpr", "hipaa")
"""The policies in this distribution, and the ones in force unless the settings say otherwise."""


def shipped(name: str) -> Traversable:
    """The file of a shipped policy, wherever the package was installed."""
    return importlib.resources.files("policies") / f"{name}.yaml"


def load_policy(source: Path | Traversable) -> Policy:
    """Read one policy.

    Raises:
        PolicyFileError: the file cannot be read or is not a policy.
    """
    data, file = read_bytes(source)
    return parse_policy(data, file=file)


def parse_policy(data: bytes, *, file: str) -> Policy:
    """Read a policy from its bytes. ``file`` names it in errors and citations.

    Raises:
        PolicyFileError: the bytes are not a policy.
    """
    policy = read_policy(parse(data, file=file), digest=hashlib.sha256(data).hexdigest())
    check_bands(policy)
    check_shifted_dates(policy)
    check_retention([policy])
    return policy


def read_bytes(source: Path | Traversable) -> tuple[bytes, str]:
    """The bytes of a file and the name to show for it.

    A path is shown as given, a packaged file as ``policies/NAME``.
    """
    file = str(source) if isinstance(source, Path) else f"policies/{source.name}"
    if _packaged(source):
        file = f"policies/{source.name}"
    try:
        with source.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        raise PolicyFileError(
            "the file cannot be read; check that it exists and its permissions", where=f"{file}:1:1"
        ) from None
    return data, file


def _packaged(source: Path | Traversable) -> bool:
    return (
        isinstance(source, Path) and source == importlib.resources.files("policies") / source.name
    )


def parse(data: bytes, *, file: str) -> Node:
    """Parse one YAML document of lists, mappings and text.

    Raises:
        PolicyFileError: with the place of the first thing that is wrong.
    """
    return yaml.parse(data, file=file, error=PolicyFileError)
