"""Learning-rate schedules: the share of the peak learning rate that a step has, behind the warm-up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from forehand.errors import ConfigurationError, nearest
from forehand.utils.named_options import make_with_options, named_options


class Schedule(Protocol):
    """A learning-rate schedule over ``steps`` steps."""

    def factor(self, step: int, steps: int) -> float:
        """The share of the peak that ``step`` has, counted from 0 behind the warm-up; later ones have the last share."""


@dataclass(frozen=True, kw_only=True)
class _ToEnd:
    """A fall from the peak to ``final``, a share of it, at the last step."""

    final: float = 0.0

    def __post_init__(self) -> None:
        _require_share("final", self.final)

    def _fall(self, shape: float) -> float:
        """``shape`` falls from 1 to 0."""
        return self.final + (1 - self.final) * shape


@dataclass(frozen=True, kw_only=True)
class Cosine(_ToEnd):
    """Half a cosine, from the peak to ``final`` (Loshchilov and Hutter 2017)."""

    def factor(self, step: int, steps: int) -> float:
        """See :class:`Schedule`."""
        return self._fall(_cosine(min(1.0, step / max(1, steps))))


@dataclass(frozen=True, kw_only=True)
class Linear(_ToEnd):
    """A straight line, from the peak to ``final``."""

    def factor(self, step: int, steps: int) -> float:
        """See :class:`Schedule`."""
        return self._fall(1 - min(1.0, step / max(1, steps)))


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The peak, always."""

    def factor(self, step: int, steps: int) -> float:
        """See :class:`Schedule`."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(_ToEnd):
    """The peak, and a decay in the last ``decay_fraction`` of the steps (Hu et al. 2024, MiniCPM).

    shape: of the decay, ``linear``, ``cosine``, or ``sqrt`` (1 - √share; Hägele et al. 2024). A run that has not begun to
    decay can be made longer without a jump of the rate.
    """

    decay_fraction: float = 0.2
    shape: str = "linear"

    SHAPES: ClassVar[tuple[str, ...]] = ("linear", "cosine", "sqrt")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_share("decay_fraction", self.decay_fraction)
        if not self.decay_fraction:
            raise ConfigurationError("recipe.schedule: decay_fraction is 0; without a decay, take schedule=constant.")
        if self.shape not in self.SHAPES:
            raise ConfigurationError(f"recipe.schedule: shape is {', '.join(self.SHAPES)}, not {self.shape!r}.")

    def factor(self, step: int, steps: int) -> float:
        """See :class:`Schedule`."""
        begin = steps - round(self.decay_fraction * steps)
        done = min(1.0, max(0, step - begin) / max(1, steps - begin))
        shape = {"linear": 1 - done, "cosine": _cosine(done), "sqrt": 1 - math.sqrt(done)}[self.shape]
        return self._fall(shape)


@dataclass(frozen=True, kw_only=True)
class CosineWithRestarts(_ToEnd):
    """``cycles`` cosines one after the other, each from the peak to ``final`` (SGDR, Loshchilov and Hutter 2017)."""

    cycles: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.cycles, int) or isinstance(self.cycles, bool) or self.cycles < 1:
            raise ConfigurationError(f"recipe.schedule: cycles is a whole number of at least 1, not {self.cycles!r}.")

    def factor(self, step: int, steps: int) -> float:
        """See :class:`Schedule`."""
        if step >= steps:
            return self._fall(0.0)
        return self._fall(_cosine(step * self.cycles % steps / steps))


SCHEDULES: Mapping[str, type] = {
    "cosine": Cosine,
    "linear": Linear,
    "constant": Constant,
    "warmup_stable_decay": WarmupStableDecay,
    "cosine_with_restarts": CosineWithRestarts,
}


def make_schedule(given: str | Mapping[str, Any]) -> Schedule:
    """The schedule that is written as a name, or as ``{name: …}`` with options. Raises :class:`ConfigurationError`."""
    name, options = named_options("recipe.schedule", given)
    if name not in SCHEDULES:
        raise ConfigurationError(f"recipe.schedule: there is no schedule {name!r}. {nearest(name, SCHEDULES)}")
    made: Schedule = make_with_options(f"recipe.schedule {name}", SCHEDULES[name], options)
    return made


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _require_share(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigurationError(f"recipe.schedule: {name} is a number from 0 to 1, not {value!r}.")
