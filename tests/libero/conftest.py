"""LIBERO by a stand-in with the same interface."""

import sys
from pathlib import Path

import pytest

STANDIN = Path(__file__).parents[1] / "data/libero_standin"


@pytest.fixture
def standin(monkeypatch):
    """The folder of packages that stand in for LIBERO's, which this process imports."""
    monkeypatch.syspath_prepend(STANDIN)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    yield STANDIN
    for name in list(sys.modules):
        if name.partition(".")[0] in ("libero", "robosuite"):
            del sys.modules[name]
