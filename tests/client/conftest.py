"""Fixtures of the client's tests."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from fake_daemon import FakeDaemon  # noqa: E402


@pytest.fixture
def daemon():
    with FakeDaemon() as fake:
        yield fake
