"""Styles in which an expert approaches: straight, or in a curve. Needs no simulator."""

from __future__ import annotations

import random
from collections.abc import Sequence

from forehand.errors import ConfigurationError, nearest

STYLE, DIRECT = "style", "direct"  # option of an episode, and what holds without it

STYLES = {DIRECT: 0.0, "left": 0.9, "right": -0.9}
"""Turn of a long way sideways, rad: the hand goes straight, or in a curve to the left or to the right of that."""


def require_styles(given: Sequence[str]) -> tuple[str, ...]:
    """``given`` as a tuple; raises :class:`ConfigurationError` for an unknown style, or none at all."""
    for name in given:
        if name not in STYLES:
            raise ConfigurationError(f"styles: there is no {name!r}. {nearest(str(name), STYLES)}")
    if not given:
        raise ConfigurationError(f"styles: name at least one of {', '.join(STYLES)}.")
    return tuple(given)


def drawn_style(styles: Sequence[str], seed: int) -> str:
    """One of ``styles``, by an episode's ``seed``, of which nothing else that is drawn by it says which."""
    return random.Random(f"style {seed}").choice(styles)
