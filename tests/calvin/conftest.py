"""CALVIN by a stand-in with the same interface."""

import sys
from pathlib import Path

import pytest

STANDIN = Path(__file__).parents[1] / "data/calvin_standin"


@pytest.fixture
def standin():
    """The checkout that stands in for that of ``calvin_env``, which this process imports."""
    before = list(sys.path)
    yield STANDIN
    sys.path[:] = before
    for name in list(sys.modules):
        if name.partition(".")[0] == "calvin_env":
            del sys.modules[name]
