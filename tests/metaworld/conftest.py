"""Meta-World by a stand-in with the same interface."""

import sys
from pathlib import Path

import pytest

from forehand.utils.rendering import choose_renderer

choose_renderer()  # before MuJoCo is imported: a renderer that does not work blocks the next one that is made

STANDIN = Path(__file__).parents[1] / "data/metaworld_standin"


@pytest.fixture
def standin(monkeypatch):
    """The folder of packages that stand in for Meta-World's, which this process imports."""
    monkeypatch.syspath_prepend(STANDIN)
    yield STANDIN
    for name in list(sys.modules):
        if name.partition(".")[0] == "metaworld":
            del sys.modules[name]
