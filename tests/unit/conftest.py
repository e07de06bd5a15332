"""These tests run without sockets (asyncio's own socket pair excepted): promise 1."""

from __future__ import annotations

import pytest
from litestar.testing import AsyncTestClient
from pytest_socket import disable_socket, enable_socket

from tests import echo
from tests.fakes import House


@pytest.fixture(autouse=True)
def _no_sockets():
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture
def ward(tmp_path):
    """A real pipeline around an engine in memory."""
    with echo.ward(tmp_path / "ward") as one:
        yield one


@pytest.fixture
async def client(tmp_path, ward):
    """A clinician's client of ``ward``."""
    house = House(tmp_path / "keys.json", pipeline=ward.pipeline)
    async with AsyncTestClient(house.app) as client:
        client.headers.update(house.headers())
        yield client
