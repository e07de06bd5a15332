"""Presidio's recognizers as this gateway runs them: which, as what type, and when they count.

Presidio binds a recognizer to one language and scores by what a token neighbour looks like. Here
each pattern of each recognizer runs whatever the language is (a German tax number stands in an
English letter too), behind a prefilter that is looser than the pattern, on windows around what the
prefilter found, and counts by its gate. Presidio's own class stays the authority on the match and
the checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from types import ModuleType
from typing import Any

import re2

from gateway.pii.presidio.imports import import_presidio
from gateway.pii.presidio.loosen import loosen
from gateway.pii.recognizers.load import Candidate, context_pattern, in_context
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK

WINDOW = 48  # bytes beside a candidate that Presidio sees: more than any of its lookbehinds needs
MERGE = 160  # windows closer than this many bytes become one
LONGEST = 512  # bytes; a candidate that is longer is not checked but found as it stands
_VALIDATED = 1.0


class Gate(Enum):
    """When a result of Presidio counts as a finding."""

    OPEN = "open"  # always
    CHECKSUM = "checksum"  # its checksum agrees
    CONTEXT = "context"  # a word of its context stands nearby
    EITHER = "either"  # its checksum agrees or a word of its context stands nearby


@dataclass(frozen=True, slots=True)
class Use:
    """How one class of Presidio is used.

    ``open_from``: patterns scored this high by Presidio need no gate. ``require``: what a value
    must also look like. ``skip``: patterns left out, by a part of their names, because they match
    nearly anything. ``cue``: a prefilter written by hand where loosening gives a poor one.
    ``linear``: patterns, by a part of their names, that RE2 runs in the place of Presidio, whose
    backtracking takes most of a second for a few hundred hostile bytes; no checksum goes with them.
    ``weak``: its checksum passes one number in about ten, and is no proof for the tripwire.
    """

    recognizer: str
    entity_type: str
    gate: Gate = Gate.CONTEXT
    open_from: float = 2.0
    require: str = ""
    skip: str = ""
    cue: str = ""
    context: tuple[str, ...] = ()
    score: float = 0.6
    linear: str = ""
    weak: bool = False


_PASSPORT = ("passport", "travel document", "reisepass", "pasaporte", "passeport", "passaporto")
_PLATE = ("plate", "plates", "registration", "kennzeichen", "matrícula", "immatriculation")
_DRIVER = (
    "driver", "drivers", "driver's", "driving", "driving license", "driving licence", "license no",
    "license number", "licence number", "führerschein",
)  # fmt: skip

USES: tuple[Use, ...] = (
    # Generic.
    Use(
        "CreditCardRecognizer",
        "CREDIT_CARD",
        Gate.CHECKSUM,
        require=r"^3|^(?:\D*\d){12,14}$|^(?:\D*\d){16,19}$",  # fifteen digits: an IMEI
        score=0.9,
    ),
    Use("CryptoRecognizer", "CRYPTO", Gate.CHECKSUM, score=0.95),
    Use("DateRecognizer", "DATE_TIME", open_from=0.6, require=r"\d{4}|/|[A-Za-z]|^\d\d\.\d\d\."),
    Use("EmailRecognizer", "EMAIL_ADDRESS", Gate.OPEN, cue="@", score=0.85),
    Use("IbanRecognizer", "IBAN_CODE", Gate.CHECKSUM, score=0.95),
    Use("IpRecognizer", "IP_ADDRESS", Gate.OPEN, require=r"\d\d", skip="unspecified", score=0.7),
    Use("MacAddressRecognizer", "DEVICE_ID", Gate.OPEN),
    Use(
        "UrlRecognizer",
        "URL",
        Gate.OPEN,
        require=r"^https?:|^www|^[a-z0-9.-]+\.(?:com|org|net|edu|gov|mil|io|info|biz|health|law|"
        r"de|fr|es|uk|eu|ca|ch|nl|se|fi)(?:[^a-z]|$)|/",
        skip="Quoted",
        linear="Non schema",
        cue=r"(?i)[a-z0-9-]\.[a-z]{2}",
        score=0.65,
    ),
    Use("UuidRecognizer", "ID_NUMBER", Gate.OPEN),
    # United States.
    Use("AbaRoutingRecognizer", "ACCOUNT_NUMBER"),
    Use("MedicalLicenseRecognizer", "LICENSE", Gate.CHECKSUM, weak=True),
    Use("UsBankRecognizer", "ACCOUNT_NUMBER", context=("account", "acct", "bank", "routing")),
    Use(
        "UsClaimNumberRecognizer",
        "HEALTH_PLAN",
        open_from=0.35,
        cue=r"(?i)(?:claim|clm)[^\n]{0,24}?\d{6,15}",
    ),
    Use(
        "UsHealthInsuranceMemberIdRecognizer",
        "HEALTH_PLAN",
        require=r"\d.*\d.*\d.*\d",
        cue=r"(?i)[a-z]{1,5}-?[a-z0-9]{0,13}\d{2}",
        context=("member", "subscriber", "policy number", "policy no", "insurance id"),
    ),
    Use("UsItinRecognizer", "TAX_ID", open_from=0.5),
    Use("UsLicenseRecognizer", "LICENSE", context=_DRIVER),
    Use("UsMbiRecognizer", "HEALTH_PLAN", Gate.OPEN),
    Use("UsNpiRecognizer", "LICENSE", Gate.CHECKSUM, weak=True),
    Use("UsPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use(
        "UsPrescriptionNumberRecognizer",
        "HEALTH_PLAN",
        open_from=0.35,
        cue=r"(?i)(?:rx|prescription)[^\n]{0,24}?\d{6,12}",
    ),
    Use(
        "UsPriorAuthorizationNumberRecognizer",
        "HEALTH_PLAN",
        open_from=0.35,
        cue=r"(?i)(?:auth|pa-?)[^\n]{0,24}?\d{6,12}",
    ),
    Use("UsProviderTaxIdRecognizer", "TAX_ID", open_from=0.35, cue=r"\d{2}-\d{7}"),
    Use(
        "UsReferralNumberRecognizer",
        "HEALTH_PLAN",
        open_from=0.35,
        cue=r"(?i)(?:ref|inf)[^\n]{0,24}?\d{6,12}",
    ),
    Use("UsSsnRecognizer", "US_SSN", open_from=0.5, score=0.8),
    # United Kingdom, Canada, Australia.
    Use("NhsRecognizer", "NATIONAL_ID", Gate.CHECKSUM, require=r"^[\d ]+$", weak=True),
    Use("UkDrivingLicenceRecognizer", "LICENSE", Gate.OPEN),
    Use("UkNinoRecognizer", "NATIONAL_ID", Gate.OPEN),
    Use("UkPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use("UkPostcodeRecognizer", "ZIP_CODE"),
    Use("UkVehicleRegistrationRecognizer", "VEHICLE_ID", context=_PLATE),
    Use("CaPostalCodeRecognizer", "ZIP_CODE"),
    Use("CaSinRecognizer", "NATIONAL_ID"),
    Use("AuAbnRecognizer", "TAX_ID", Gate.CHECKSUM),
    Use("AuAcnRecognizer", "TAX_ID"),
    Use("AuMedicareRecognizer", "HEALTH_PLAN"),
    Use("AuTfnRecognizer", "TAX_ID"),
    # European Union and neighbours.
    Use("DeBsnrRecognizer", "LICENSE"),
    Use("DeFuehrerscheinRecognizer", "LICENSE"),
    Use("DeHandelsregisterRecognizer", "TAX_ID", Gate.OPEN),
    Use("DeHealthInsuranceRecognizer", "HEALTH_PLAN", Gate.CHECKSUM),
    Use("DeIdCardRecognizer", "NATIONAL_ID", require=r"\d.*\d"),
    Use("DeKfzRecognizer", "VEHICLE_ID", context=_PLATE),
    Use("DeLanrRecognizer", "LICENSE"),
    Use("DePassportRecognizer", "PASSPORT", require=r"\d.*\d", context=_PASSPORT),
    Use("DePlzRecognizer", "ZIP_CODE"),
    Use("DeSocialSecurityRecognizer", "NATIONAL_ID", Gate.CHECKSUM),
    Use("DeTaxIdRecognizer", "TAX_ID", Gate.CHECKSUM),
    Use("DeTaxNumberRecognizer", "TAX_ID"),
    Use("DeVatIdRecognizer", "TAX_ID", Gate.EITHER),
    Use("EsNieRecognizer", "NATIONAL_ID", Gate.CHECKSUM),
    Use("EsNifRecognizer", "NATIONAL_ID", Gate.CHECKSUM),
    Use("EsPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use("FiPersonalIdentityCodeRecognizer", "NATIONAL_ID", Gate.CHECKSUM, skip="Very Weak"),
    Use("ItDriverLicenseRecognizer", "LICENSE"),
    Use("ItFiscalCodeRecognizer", "NATIONAL_ID", Gate.CHECKSUM, score=0.95),
    Use("ItIdentityCardRecognizer", "NATIONAL_ID"),
    Use("ItPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use("ItVatCodeRecognizer", "TAX_ID", context=("piva", "p.iva", "partita iva")),
    Use("PlPeselRecognizer", "NATIONAL_ID", Gate.CHECKSUM, weak=True),
    Use("SeOrganisationsnummerRecognizer", "TAX_ID", Gate.CHECKSUM, skip="Weak", weak=True),
    Use("SePersonnummerRecognizer", "NATIONAL_ID", Gate.CHECKSUM, skip="Weak"),
    Use("TrLicensePlateRecognizer", "VEHICLE_ID", context=_PLATE),
    Use("TrNationalIdRecognizer", "NATIONAL_ID", Gate.CHECKSUM),
    # Asia and Africa.
    Use("InAadhaarRecognizer", "NATIONAL_ID", Gate.CHECKSUM, weak=True),
    Use("InGstinRecognizer", "TAX_ID", Gate.EITHER),
    Use("InPanRecognizer", "TAX_ID", open_from=0.5, skip="Low"),
    Use("InPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use("InVehicleRegistrationRecognizer", "VEHICLE_ID", context=_PLATE),
    Use("InVoterRecognizer", "NATIONAL_ID"),
    Use("KrBrnRecognizer", "TAX_ID", Gate.CHECKSUM, weak=True),
    Use("KrDriverLicenseRecognizer", "LICENSE"),
    Use("KrFrnRecognizer", "NATIONAL_ID", Gate.OPEN, require="-"),
    Use("KrPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use("KrRrnRecognizer", "NATIONAL_ID", Gate.CHECKSUM),
    Use("NgNinRecognizer", "NATIONAL_ID"),
    Use("NgVehicleRegistrationRecognizer", "VEHICLE_ID", context=_PLATE),
    Use("PhPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use("PhTinRecognizer", "TAX_ID"),
    Use("PhUmidRecognizer", "NATIONAL_ID", open_from=0.5),
    Use("SgFinRecognizer", "NATIONAL_ID", open_from=0.5),
    Use("SgUenRecognizer", "TAX_ID", Gate.CHECKSUM),
    Use("ThTninRecognizer", "NATIONAL_ID", Gate.CHECKSUM, weak=True),
    Use("ZaCompanyRegistrationRecognizer", "TAX_ID", Gate.EITHER),
    Use("ZaDriverLicenseRecognizer", "LICENSE", context=_DRIVER),
    Use("ZaIdNumberRecognizer", "NATIONAL_ID", Gate.CHECKSUM),
    Use("ZaIncomeTaxNumberRecognizer", "TAX_ID"),
    Use("ZaLicensePlateRecognizer", "VEHICLE_ID", context=_PLATE),
    Use("ZaPassportRecognizer", "PASSPORT", context=_PASSPORT),
    Use("ZaTrafficRegisterNumberRecognizer", "LICENSE"),
    Use("ZaVatNumberRecognizer", "TAX_ID"),
)


def _replaced(predefined: ModuleType) -> dict[str, Any]:
    """The classes of Presidio's whose judgement is not the gateway's."""

    class Email(predefined.EmailRecognizer):  # type: ignore[name-defined,misc]
        """Presidio asks tldextract, which fetches a suffix list. The shape is enough to mask."""

        def validate_result(self, pattern_text: str) -> None:
            """Say neither yes nor no."""

    class Ssn(predefined.UsSsnRecognizer):  # type: ignore[name-defined,misc]
        """Presidio drops numbers that look like samples. A gateway cannot know that they are."""

        def invalidate_result(self, pattern_text: str) -> bool:  # noqa: ARG002
            """Keep whatever has the shape."""
            return False

    return {"EmailRecognizer": Email, "UsSsnRecognizer": Ssn}


@dataclass(frozen=True, slots=True)
class PresidioRule:
    """One pattern of one recognizer of Presidio."""

    id: str
    entity_type: str
    use: Use
    recognizer: Any
    cue: str
    candidates: Any
    context: Any
    require: Any
    opened: bool
    linear: Any = None

    def find(self, data: bytes) -> Iterator[Candidate | None]:
        """Yield what Presidio finds in UTF-8 ``data`` and the gate lets through.

        None stands for a window without a candidate: the caller looks at the clock.
        """
        if not self.opened and self.use.gate is Gate.CONTEXT and not self.context.search(data):
            return
        if self.linear is not None:
            for match in self.linear.finditer(data):
                yield self._gated(data, match.start(), match.end(), 0.0)
            return
        for start, end in self._windows(data):
            if end - start > LONGEST + 2 * WINDOW:
                yield Candidate(self.entity_type, start, end, self.use.score, self.id)
                continue
            window = data[start:end].decode()
            for found in self.recognizer.analyze(window, self.recognizer.supported_entities):
                low, high = _bytes(window, start, found.start), _bytes(window, start, found.end)
                if (low == start > 0) or (high == end < len(data)):
                    continue  # cut by the window: another window has it whole
                candidate = self._gated(data, low, high, found.score)
                if candidate is not None:
                    yield candidate
            yield None

    def _windows(self, data: bytes) -> Iterator[tuple[int, int]]:
        start = end = -1
        for match in self.candidates.finditer(data):
            low, high = match.span()
            if end >= 0 and low - end <= MERGE and high - start <= LONGEST:
                end = max(end, high)
                continue
            if end >= 0:
                yield _widen(data, start, end)
            start, end = low, high
        if end >= 0:
            yield _widen(data, start, end)

    def _gated(self, data: bytes, start: int, end: int, score: float) -> Candidate | None:
        if self.require is not None and not self.require.search(data[start:end]):
            return None
        gate = Gate.OPEN if self.opened else self.use.gate
        validated = score == _VALIDATED
        if gate is Gate.CHECKSUM and not validated:
            return None
        if (gate is Gate.CONTEXT or (gate is Gate.EITHER and not validated)) and not in_context(
            self.context, data, start, end
        ):
            return None
        proven = validated and not self.use.weak
        source = self.id + CHECKSUM_MARK if proven else self.id
        return Candidate(self.entity_type, start, end, self.use.score, source)


def _widen(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Add ``WINDOW`` bytes on both sides without splitting a UTF-8 sequence."""
    start, end = max(0, start - WINDOW), min(len(data), end + WINDOW)
    while start > 0 and data[start] & 0xC0 == 0x80:  # noqa: PLR2004
        start -= 1
    while end < len(data) and data[end] & 0xC0 == 0x80:  # noqa: PLR2004
        end += 1
    return start, end


def _bytes(window: str, base: int, offset: int) -> int:
    return base + (offset if window.isascii() else len(window[:offset].encode()))


def build_registry() -> tuple[PresidioRule, ...]:
    """Build one rule per pattern of Presidio's that is used. Imports Presidio."""
    predefined = import_presidio()
    replaced = _replaced(predefined)
    return tuple(
        rule
        for use in USES
        for rule in _rules(use, replaced.get(use.recognizer) or getattr(predefined, use.recognizer))
    )


def _rules(use: Use, kind: Any) -> Iterator[PresidioRule]:
    context = context_pattern(list(use.context or kind.CONTEXT))
    for number, pattern in enumerate(kind.PATTERNS):
        if use.skip and use.skip in pattern.name:
            continue
        recognizer = kind(patterns=[type(pattern)(pattern.name, pattern.regex, pattern.score)])
        recognizer.analyze(" ", recognizer.supported_entities)  # compiles, so that threads need not
        flags = "(?i)" if recognizer.global_regex_flags & re.IGNORECASE else ""
        cue = use.cue or flags + loosen(pattern.regex)
        yield PresidioRule(
            id=f"presidio:{use.recognizer}:{number}",
            entity_type=use.entity_type,
            use=use,
            recognizer=recognizer,
            cue=cue,
            candidates=re2.compile(cue),
            context=context,
            require=re2.compile(use.require) if use.require else None,
            opened=use.gate is Gate.OPEN or pattern.score >= use.open_from,
            linear=re2.compile(pattern.regex)
            if use.linear and use.linear in pattern.name
            else None,
        )


def presidio_version() -> str:
    """Return the installed version, for the digest."""
    return version("presidio-analyzer")
