"""Forecast horizons of world models, in control steps. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from forehand.errors import ConfigurationError

Horizon = int | Sequence[int]


def read_horizon(part: str, horizon: Any) -> int | tuple[int, ...]:
    """Control steps ahead: one number, or several that ascend; else :class:`ConfigurationError` naming ``part``."""
    several = tuple(horizon) if isinstance(horizon, Sequence) else (horizon,)
    whole = all(isinstance(h, int) and not isinstance(h, bool) and h >= 1 for h in several)
    if not several or not whole or list(several) != sorted(set(several)):
        raise ConfigurationError(
            f"{part}: horizon is a number of control steps, 1 or more, or several in ascending order, not {horizon!r}."
        )
    return several[0] if len(several) == 1 else several


def single_horizon(part: str, horizon: Any) -> int:
    """The horizon of a world model that has one; raises :class:`ConfigurationError` for several, too."""
    one = read_horizon(part, horizon)
    if isinstance(one, tuple):
        raise ConfigurationError(f"{part}: it forecasts one horizon, a whole number of control steps, not {horizon!r}.")
    return one


def horizon_axis(target: Tensor, horizon: int | tuple[int, ...]) -> Tensor:
    """A target, (B, T, ...) of one horizon or (B, T, K, ...) of several, as (B, T, K, ...)."""
    return target[:, :, None] if isinstance(horizon, int) else target
