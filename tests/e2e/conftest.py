"""One real gateway for the session, in front of an upstream that keeps what it was sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import running
from tests.simulator import Upstream


# For this folder only: a gateway that still runs asks its upstream for its health, whose thread
# then accepts connections while tests of other folders forbid sockets.
@pytest.fixture(scope="package")
def upstream() -> Iterator[Upstream]:
    with Upstream() as one:
        yield one


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream):
    home = tmp_path_factory.mktemp("e2e") / "home"
    with running.running(home, running.upstream_settings(upstream.url)) as one:
        yield one
