"""The guards there are, by the stage name under which a policy requires them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.guards.citations import Citations
from gateway.guards.compliance import Compliance, StatedPurpose
from gateway.guards.injection import Injection
from gateway.guards.medical import Medical
from gateway.guards.port import Guard

_GUARDS: tuple[Guard, ...] = (Citations(), Compliance(), Injection(), Medical(), StatedPurpose())

ALL: Mapping[str, Guard] = MappingProxyType({guard.name: guard for guard in _GUARDS})
