"""Checksums of identifiers: pure predicates over the text of a candidate.

Each takes the value as it was written, separators included, and says whether the check digits
agree. A name in ``CHECKS`` is what the ``check`` of a rule in the TOML files refers to. The
algorithms are written from what the issuers publish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.pii.recognizers.checks import common, companies, europe, objects, world

CHECKS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    dict(companies.CHECKS)
    | {
        check.__name__: check
        for check in (
            common.luhn,
            europe.austria,
            europe.baltic,
            europe.belgium,
            europe.bulgaria,
            europe.bulgaria_foreigner,
            europe.czech,
            europe.denmark,
            europe.denmark_date,
            europe.emso,
            europe.finland,
            europe.france,
            europe.france_tax,
            europe.germany_card,
            europe.greece,
            europe.greece_tax,
            europe.hungary_health,
            europe.hungary_person,
            europe.hungary_tax,
            europe.iceland,
            europe.ireland,
            europe.latvia,
            europe.luxembourg,
            europe.netherlands,
            europe.norway,
            europe.poland,
            europe.poland_card,
            europe.portugal_card,
            europe.portugal_social,
            europe.romania,
            europe.spain_social,
            europe.sweden,
            europe.switzerland,
            objects.aba,
            objects.bic,
            objects.gtin,
            objects.iban,
            objects.iccid,
            objects.imei,
            objects.mrz,
            objects.random_looking,
            objects.vin,
            world.aadhaar,
            world.abha,
            world.australia_abn,
            world.australia_medicare,
            world.australia_tfn,
            world.canada_phn,
            world.canada_ramq,
            world.canada_sin,
            world.chi,
            world.cnpj,
            world.cns,
            world.cpf,
            world.dea,
            world.health_identifier,
            world.nhs,
            world.npi,
        )
    }
)
