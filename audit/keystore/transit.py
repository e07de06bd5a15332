"""A key store locked with the transit engine of Vault or OpenBao: the key never leaves it.

The only home of hvac (the extra ``vault``). Only the named server is spoken to: no proxies from
the environment, no redirects, and TLS beyond loopback.
"""

from __future__ import annotations

import ipaddress
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from audit.errors import KeyStoreError

_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Transit:
    """A guard on a transit server: a key of type aes256-gcm96, by its name."""

    url: str
    mount: str
    key: str
    token: str = field(repr=False)
    ca_file: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))
        if not safe or not parts.hostname:
            raise KeyStoreError("keystore.transit_url beyond loopback begins with https://")

    @property
    def kind(self) -> str:
        return "transit"

    def wrap(self, master: bytes, bound: bytes) -> Mapping[str, str]:
        value = {"plaintext": b64encode(master).decode()}
        return {"c": self._ask("encrypt_data", "ciphertext", bound, value)}

    def unwrap(self, wrapped: Mapping[str, str], bound: bytes) -> bytes:
        value = {"ciphertext": wrapped.get("c", "")}
        try:
            return b64decode(self._ask("decrypt_data", "plaintext", bound, value), validate=True)
        except ValueError:
            raise KeyStoreError("the transit server's answer is none") from None

    def _ask(self, verb: str, wanted: str, bound: bytes, value: Mapping[str, str]) -> str:
        try:
            import hvac  # noqa: PLC0415 - an extra that few sites install
            import requests  # noqa: PLC0415 - what hvac speaks through
        except ImportError:
            raise KeyStoreError("hvac is missing: run `make extras`") from None
        with requests.Session() as session:
            session.trust_env = False
            try:
                client = hvac.Client(
                    url=self.url,
                    token=self.token,
                    verify=self.ca_file or True,
                    timeout=_SECONDS,
                    allow_redirects=False,
                    session=session,
                )
                answer: Any = getattr(client.secrets.transit, verb)(
                    name=self.key,
                    mount_point=self.mount,
                    associated_data=b64encode(bound).decode(),
                    **value,
                )
                text = answer["data"][wanted]
            except (hvac.exceptions.VaultError, requests.RequestException, OSError):
                raise KeyStoreError(
                    "the transit server refuses or cannot be reached: look at keystore.transit_*"
                ) from None
            except (KeyError, TypeError, ValueError):
                raise KeyStoreError("the transit server's answer is none") from None
        if not isinstance(text, str):
            raise KeyStoreError("the transit server's answer is none")
        return text


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
