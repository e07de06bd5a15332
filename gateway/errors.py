"""Every error of the gateway, in one tree, ordered by who is to blame.

``code`` is stable and public. Messages are constants of the class or name *published*
parameters only: no error ever carries text from a request, so any of them may be logged.
``api/problems.py`` holds the one table that maps these classes to HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """Base of all errors. ``message`` is safe to show; ``param`` is a published parameter name.

    ``receipt_id`` is set by whoever put the refusal on record, so that the answer can name it.
    """

    code: ClassVar[str] = "internal_error"
    default_message: ClassVar[str] = "The gateway could not answer this request."

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        self.message = message or self.default_message
        self.param = param
        self.receipt_id: str | None = None
        super().__init__(self.message)


# --- the caller ---------------------------------------------------------------------------


class RequestError(GatewayError):
    """The request is not one this gateway can answer."""

    code = "invalid_request"
    default_message = "The request is not valid."


class UnsupportedParameterError(RequestError):
    """A parameter that would have an effect elsewhere and has none here: refused, never ignored."""

    code = "unsupported_parameter"
    default_message = "This parameter is not supported."


class ContextLengthExceededError(RequestError):
    code = "context_length_exceeded"
    default_message = "The text and the tokens asked for do not fit the model's context."


class UnknownModelError(RequestError):
    code = "model_not_found"
    default_message = "The model does not exist or may not be used here."


class BodyTooLargeError(RequestError):
    code = "body_too_large"
    default_message = "The request body is larger than this gateway accepts."


class RequestTimeoutError(RequestError):
    """The body did not arrive in time."""

    code = "request_timeout"
    default_message = "The request did not arrive in time."


class NotFoundError(RequestError):
    """Also the answer for things that exist and belong to somebody else."""

    code = "not_found"
    default_message = "Not found."


class UnmaskableError(RequestError):
    """Personal data stands where no placeholder can (a tool's name, a JSON pointer): refused."""

    code = "unmaskable_identifier"
    default_message = "Personal data stands in a field that cannot carry a placeholder."


class AuthenticationError(GatewayError):
    """No key, or a key that is unknown, revoked or expired. Which of them is not told."""

    code = "invalid_api_key"
    default_message = "A valid API key is required."


class PermissionDeniedError(GatewayError):
    code = "permission_denied"
    default_message = "This key may not do that."


class PolicyDeniedError(GatewayError):
    """A rule in force denies the request. ``message`` names rule ids and clauses, never data."""

    code = "policy_denied"
    default_message = "The policy in force denies this request."


class TripwireError(GatewayError):
    """Personal data survived masking: the request stops before the model."""

    code = "tripwire"
    default_message = "Personal data was still visible after masking; the request was stopped."


class GuardRefusedError(GatewayError):
    """A guard that policy requires refused the prompt or withheld the answer."""

    code = "guard_refused"
    default_message = "A required check refused this request or its answer."


class BusyError(GatewayError):
    """``retry_after_s``: whole seconds after which asking again is worth it."""

    code = "busy"
    default_message = "All model slots are taken; try again later."

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


# --- the site -----------------------------------------------------------------------------


class SettingsError(GatewayError):
    """The settings, the home or a file they name is unusable. Raised at start."""

    code = "settings"
    default_message = "The settings are not valid."


class DataFileError(SettingsError):
    """A file of the site that does not load. ``where`` is ``file:line:col``."""

    code = "data_file"
    default_message = "A data file is not valid."

    def __init__(self, message: str, *, where: str) -> None:
        self.where = where
        super().__init__(f"{where}: {message}")


class PolicyFileError(DataFileError):
    """A policy that does not load."""

    code = "policy_file"
    default_message = "A policy file is not valid."


class AirGapError(GatewayError):
    """An address that the settings do not name was about to be contacted."""

    code = "air_gap"
    default_message = "A connection to an address that the settings do not name was refused."


# --- a part that failed: every one of these fails closed ------------------------------------


class UnavailableError(GatewayError):
    code = "unavailable"
    default_message = "A part that this request needs is not available."


class DetectorError(UnavailableError):
    code = "detector_unavailable"
    default_message = "Detection failed; the model was not called."


class PolicyUnavailableError(UnavailableError):
    code = "policy_unavailable"
    default_message = "No usable policy is in force; the model was not called."


class LedgerUnavailableError(UnavailableError):
    code = "ledger_unavailable"
    default_message = "The ledger could not be written; the answer was withheld."


class KeysUnavailableError(UnavailableError):
    """The store of API keys cannot be read or is not intact: nobody is let in."""

    code = "keys_unavailable"
    default_message = "The API keys cannot be read; nobody is let in."


class EngineError(UnavailableError):
    """The model failed while it generated (a crash of native code, a protocol error)."""

    code = "engine_failed"
    default_message = "The model failed while it generated this answer."


class EngineTimeoutError(EngineError):
    code = "engine_timeout"
    default_message = "The model did not answer in time."


class ModelFileError(EngineError):
    """A model file that is corrupt, truncated, or not the one whose digest was recorded."""

    code = "model_file"
    default_message = "The model file is not usable."


class GuardError(UnavailableError):
    code = "guard_unavailable"
    default_message = "A required check failed; the answer was withheld."


class RestoreError(UnavailableError):
    """The restored answer is no longer what its format promises (for example JSON)."""

    code = "restore_failed"
    default_message = "The answer could not be restored."
