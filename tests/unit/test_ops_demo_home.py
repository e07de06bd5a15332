"""A demo home stays one, whatever becomes of its marker."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.app import open_ledger
from gateway.errors import SettingsError
from gateway.provision import provision
from gateway.settings import DEMO_MARKER, load


def now() -> datetime:
    return datetime.now(UTC)


def test_a_demo_home_without_its_marker_does_not_serve(tmp_path):
    """The log's name says DEMO for ever: taking the marker away promotes nothing."""
    home = tmp_path / "home"
    provision(home, now, demo=True)
    settings = load(home)
    open_ledger(settings, home, now).close()
    (home / DEMO_MARKER).unlink()
    with pytest.raises(SettingsError, match="demo"):
        open_ledger(settings, home, now)
