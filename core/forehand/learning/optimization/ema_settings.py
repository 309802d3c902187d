"""Settings of an exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forehand.errors import ConfigurationError
from forehand.utils.named_options import make_with_options


@dataclass(frozen=True, kw_only=True)
class EMASettings:
    """How weights are averaged: after each step, average = d · average + (1 - d) · weights.

    decay: d, above 0 and below 1. warmup: d is (1 + n) / (10 + n) after n steps, as long as that is less, so that the
    initial weights are soon forgotten.
    """

    decay: float = 0.999
    warmup: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.decay, bool) or not isinstance(self.decay, int | float) or not 0 < self.decay < 1:
            raise ConfigurationError(f"recipe.ema: decay is a number above 0 and below 1, not {self.decay!r}.")
        if not isinstance(self.warmup, bool):
            raise ConfigurationError(f"recipe.ema: warmup is true or false, not {self.warmup!r}.")

    def decay_at(self, step: int) -> float:
        """The decay after ``step`` steps."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay


def read_ema(given: Any) -> EMASettings | None:
    """What is written for ``recipe.ema``: null, a decay, or a mapping. Raises :class:`ConfigurationError`."""
    if given is None:
        return None
    options = given if isinstance(given, Mapping) else {"decay": given}
    made: EMASettings = make_with_options("recipe.ema", EMASettings, options)
    return made
