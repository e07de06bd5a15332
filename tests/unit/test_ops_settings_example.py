"""`deploy/settings.example.toml` shows every setting, with its default, and is loaded as it is."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from gateway import settings
from gateway.errors import SettingsError

EXAMPLE = "deploy/settings.example.toml"


def _fields(struct: type[msgspec.Struct]) -> dict[str, object]:
    return {f.encode_name: f.default for f in msgspec.structs.fields(struct)}


def test_the_example_loads_as_settings(root, tmp_path):
    """The gateway's own loader takes the file."""
    (tmp_path / "settings.toml").write_text((root / EXAMPLE).read_text())
    loaded = settings.load(tmp_path)
    assert [u.name for u in loaded.upstream] == ["local-server", "cluster"]


def test_every_setting_is_shown(root):
    """No field of any section is missing, so a new one cannot be forgotten."""
    shown = tomllib.loads((root / EXAMPLE).read_text())
    sections = _fields(settings.Settings)
    assert set(shown) == set(sections)
    for name in sections:
        if name == "upstream":
            assert set(shown[name][0]) == set(_fields(settings.Upstream))
        else:
            default = getattr(settings.Settings(), name)
            assert set(shown[name]) == set(_fields(type(default))), name


def test_retention_stands_between_its_floor_and_its_ceiling(tmp_path):
    """Settings that contradict each other are refused; the bounds themselves are allowed."""
    path = tmp_path / "settings.toml"
    path.write_text("[ledger]\nfloor_months = 6\nretain_months = 6\nceiling_months = 6\n")
    assert settings.load(tmp_path).ledger.floor_months == 6
    for wrong in ("floor_months = 73", "ceiling_months = 71"):
        path.write_text(f"[ledger]\n{wrong}\n")
        with pytest.raises(SettingsError):
            settings.load(tmp_path)


def test_the_values_shown_are_the_defaults(root, tmp_path):
    """Without the upstreams, the example is what an empty file means."""
    text = (root / EXAMPLE).read_text().partition("# An OpenAI-compatible server")[0]
    (tmp_path / "settings.toml").write_text(text)
    assert settings.load(tmp_path) == settings.Settings()
