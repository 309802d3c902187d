"""Targets of world models at one horizon or several."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from forehand.errors import ConfigurationError

Horizon = int | Sequence[int]


def read_horizon(horizon: Horizon, part: str) -> int | tuple[int, ...]:
    """Control steps ahead: one number, or several that ascend; else :class:`ConfigurationError` naming ``part``."""
    several = (horizon,) if isinstance(horizon, int) else tuple(horizon)
    whole = all(isinstance(h, int) and not isinstance(h, bool) and h >= 1 for h in several)
    if not several or not whole or list(several) != sorted(set(several)):
        raise ConfigurationError(
            f"{part}: horizon is a number of control steps, 1 or more, or several in ascending order, not {horizon!r}."
        )
    return several[0] if len(several) == 1 else several


def horizon_axis(target: Tensor, horizon: int | tuple[int, ...]) -> Tensor:
    """A target, (B, T, ...) of one horizon or (B, T, K, ...) of several, as (B, T, K, ...)."""
    return target[:, :, None] if isinstance(horizon, int) else target
