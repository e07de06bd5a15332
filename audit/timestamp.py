"""RFC 3161 time stamps on checkpoints, from an authority on the premises (audit-format.md §5.6).

Files in, files out: nothing here opens a connection. What is stamped is the text of a checkpoint
(origin, size, root), which stays the same when witnesses add their lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from types import ModuleType

from cryptography.x509 import Certificate, load_pem_x509_certificates

from audit.checkpoint import signature_lines
from audit.errors import FormatError, MissingError, StampError


def _client() -> ModuleType:
    try:
        import rfc3161_client  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise MissingError("rfc3161-client is missing: run `make extras`") from None
    return rfc3161_client


def certificates(pem: bytes) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(pem)
    except ValueError:
        raise FormatError("not a certificate in PEM") from None


def request(note: str) -> bytes:
    """The DER of a TimeStampReq over a checkpoint's text, with a nonce; asks for certificates."""
    client = _client()
    builder = client.TimestampRequestBuilder().data(signature_lines(note)[0].encode())
    built: bytes = builder.hash_algorithm(client.HashAlgorithm.SHA256).build().as_bytes()
    return built


def imprint(response: bytes, note: str) -> datetime:
    """When a response says that it was made, once it is seen to be over this checkpoint.

    Proves nothing by itself: ``verify`` checks who signed it.

    Raises:
        FormatError: not a response that grants a stamp.
        StampError: a stamp on something else.
    """
    client = _client()
    try:
        decoded = client.decode_timestamp_response(response)
        info = decoded.tst_info
        found, moment = bytes(info.message_imprint.message), info.gen_time
    except Exception:  # noqa: BLE001 - the library's errors are of many kinds
        raise FormatError("not a time stamp that was granted") from None
    text = signature_lines(note)[0].encode()
    if found not in {hashlib.new(name, text).digest() for name in ("sha256", "sha384", "sha512")}:
        raise StampError("the time stamp is on another checkpoint")
    if not isinstance(moment, datetime):
        raise FormatError("not a time stamp that was granted")
    return moment


def verify(
    response: bytes,
    note: str,
    roots: Sequence[Certificate],
    intermediates: Sequence[Certificate] = (),
    authority: Certificate | None = None,
) -> datetime:
    """When the checkpoint was stamped, by an authority under one of ``roots``.

    Raises:
        StampError: another checkpoint, another authority, or a signature that does not verify.
        FormatError: no response, or no root.
    """
    if not roots:
        raise FormatError("no root certificate is named: nobody's stamp would count")
    moment, client = imprint(response, note), _client()
    builder = client.VerifierBuilder(
        tsa_certificate=authority, intermediates=list(intermediates), roots=list(roots)
    )
    text = signature_lines(note)[0].encode()
    try:
        builder.build().verify_message(client.decode_timestamp_response(response), text)
    except Exception:  # noqa: BLE001 - whatever it raises, it did not verify
        raise StampError("the time stamp does not verify under these certificates") from None
    return moment
