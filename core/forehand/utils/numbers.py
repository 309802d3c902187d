"""Validation of numeric options."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from forehand.errors import ConfigurationError


def positive(**options: Any) -> None:
    """Durations and rates: raises :class:`ConfigurationError` naming the first that is not finite and above 0.

    None is left out, here and in the others, since it means a default.
    """
    _each(options, "a positive number", lambda number: number > 0)


def not_negative(**options: Any) -> None:
    """The same for what may be 0."""
    _each(options, "0 or a positive number", lambda number: number >= 0)


def finite(**options: Any) -> None:
    """The same for numbers of either sign."""
    _each(options, "a finite number", lambda number: True)


def count(least: int = 1, most: int | None = None, **options: Any) -> None:
    """The same for whole numbers from ``least`` to ``most``."""
    wanted = f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}"
    _each(options, wanted, lambda number: number % 1 == 0 and least <= number and (most is None or number <= most))


def ratio(**options: Any) -> None:
    """The same for shares of a whole."""
    _each(options, "a number from 0 to 1", lambda number: 0 <= number <= 1)


def _each(options: dict[str, Any], wanted: str, allowed: Callable[[Any], bool]) -> None:
    for name, value in options.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value) and allowed(value)):
            raise ConfigurationError(f"{name} must be {wanted}, not {value!r}.")
