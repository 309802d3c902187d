"""Normalization of states and actions: between a contract's units and the range a network works in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from forehand.compose.delta_actions import DeltaActions
from forehand.contracts.contract import Contract, Field
from forehand.errors import ConfigurationError, nearest

Statistics = Mapping[str, Mapping[str, Any]]


@runtime_checkable
class _AddsChunks(Protocol):
    """Statistics of a dataset whose tables are at hand, as :class:`forehand.data.statistics.DatasetStatistics`."""

    def add_chunks(
        self, key: str, chunk: int, predicted: Callable[..., Any] | None = None, *, per_step: bool = False
    ) -> None: ...


def _limits(fields: Sequence[Field], statistics: Mapping[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    for field in fields:
        if field.low is None or field.high is None:
            raise ConfigurationError(
                f"normalization 'limits' of {where}: the contract states no range for {field.name!r}. Use quantiles, "
                f"min_max or mean_std, which take what occurs in the data."
            )
    low = np.concatenate([np.asarray(f.low, np.float64) for f in fields])
    high = np.concatenate([np.asarray(f.high, np.float64) for f in fields])
    return (high + low) / 2, (high - low) / 2


def _statistic(statistics: Mapping[str, Any], name: str, where: str) -> np.ndarray:
    if name not in statistics:
        raise ConfigurationError(f"normalization of {where} needs the dataset's statistic {name!r}, which it lacks.")
    return np.asarray(statistics[name], np.float64)


def _between(low: str, high: str) -> Any:
    def method(fields: Sequence[Field], statistics: Mapping[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
        a, b = _statistic(statistics, low, where), _statistic(statistics, high, where)
        return (b + a) / 2, (b - a) / 2

    return method


def _none(fields: Sequence[Field], statistics: Mapping[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    size = sum(f.size for f in fields)
    return np.zeros(size), np.ones(size)


def _mean_std(fields: Sequence[Field], statistics: Mapping[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    return _statistic(statistics, "mean", where), _statistic(statistics, "std", where)


METHODS: Mapping[str, Any] = {
    "none": _none,
    "mean_std": _mean_std,
    "min_max": _between("min", "max"),
    "quantiles": _between("q01", "q99"),
    "limits": _limits,
}
STATISTICAL = ("mean_std", "min_max", "quantiles")
"""Methods that take statistics of the data."""


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Settings of a :class:`Normalizer`, as they stand in a policy's configuration: a method, or a mapping of these.

    method: ``none``; ``mean_std``; ``min_max`` or ``quantiles`` (1 % and 99 % to -1 and 1); ``limits`` (the contract's
    range to -1 and 1). clip: normalized numbers beyond ± this are cut there, on the way there and on the way back; None:
    nothing is. per_step: of actions, statistics for each step of a chunk.
    """

    method: str
    clip: float | None = None
    per_step: bool = False

    @classmethod
    def read(cls, config: str | Mapping[str, Any], where: str) -> Normalization:
        """The settings that ``config`` describes; raises :class:`ConfigurationError`, naming what is normalized."""
        options: dict[str, Any] = {"method": config} if isinstance(config, str) else dict(config)
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in options if name not in known]:
            raise ConfigurationError(
                f"normalization of {where}: there is no option {unknown[0]!r}. {nearest(unknown[0], known)}"
            )
        method, clip = options.get("method"), options.get("clip")
        if method not in METHODS:
            raise ConfigurationError(f"unknown normalization {method!r} of {where}. {nearest(str(method), METHODS)}")
        if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or not 0 < clip < np.inf):
            raise ConfigurationError(f"normalization of {where}: clip must be a positive number or null, not {clip!r}.")
        if not isinstance(options.get("per_step", False), bool):
            raise ConfigurationError(
                f"normalization of {where}: per_step must be true or false, not {options['per_step']!r}."
            )
        found = cls(**options)
        if found.per_step and method not in STATISTICAL:
            raise ConfigurationError(f"normalization of {where}: {method!r} takes no statistics, so leave per_step out.")
        return found


class Normalizer(nn.Module):
    """``(x - center) / scale``, and back.

    settings: a :class:`Normalization`, or the name of its method. statistics: (S,) each, or (H, S) for each step of a
    chunk. Elements that hardly vary (scale < 1e-4) keep a scale of 1, so that noise is not blown up.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self, settings: str | Normalization, fields: Sequence[Field], statistics: Mapping[str, Any], where: str
    ) -> None:
        super().__init__()
        if isinstance(settings, str):
            settings = Normalization.read(settings, where)
        self.clip = settings.clip
        # Data without actions have no statistics of them either.
        center, scale = METHODS[settings.method if fields else "none"](fields, statistics, where)
        self.register_buffer("center", torch.tensor(center, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(np.where(scale < 1e-4, 1.0, scale), dtype=torch.float32))

    def forward(self, values: Tensor) -> Tensor:
        """(..., S) in the contract's units → (..., S) normalized."""
        return self._clipped((values - self.center) / self.scale)

    def inverse(self, values: Tensor) -> Tensor:
        """(..., S) normalized → (..., S) in the contract's units."""
        return self._clipped(values) * self.scale + self.center

    def _clipped(self, values: Tensor) -> Tensor:
        return values if self.clip is None else values.clamp(-self.clip, self.clip)


def make_normalizers(
    normalization: Mapping[str, str | Mapping[str, Any]],
    contract: Contract,
    statistics: Statistics,
    chunk: int,
    delta: DeltaActions | None,
) -> tuple[Normalizer, Normalizer]:
    """The normalizers of a contract's states, and of actions as a policy predicts them in chunks of ``chunk``.

    normalization: the settings of ``state`` and ``action``. Raises :class:`ConfigurationError`.
    """
    if missing := [side for side in ("state", "action") if side not in normalization]:
        raise ConfigurationError(f"policy.normalization: the method of {missing[0]} is missing. {nearest('', METHODS)}")
    states = Normalization.read(normalization["state"], "the state")
    if states.per_step:
        raise ConfigurationError("normalization of the state: per_step is about chunks of actions. Leave it out.")
    actions = Normalization.read(normalization["action"], "the action")
    predicted = delta.fields if delta else contract.action
    found = predicted_statistics(statistics, actions, chunk, delta) if contract.action else {}
    return (
        Normalizer(states, contract.state, statistics.get("observation.state", {}), "the state"),
        Normalizer(actions, predicted, found, "the action"),
    )


def predicted_statistics(
    statistics: Statistics, settings: Normalization, chunk: int, delta: DeltaActions | None
) -> Mapping[str, Any]:
    """Statistics of the actions as a policy predicts them: of the contract's, of deltas, or of each step of a chunk.

    They are computed from a dataset's tables (:class:`forehand.data.statistics.DatasetStatistics`), or found among the
    ``statistics`` that a checkpoint holds. Raises :class:`ConfigurationError` where they are neither.
    """
    if delta is None and not settings.per_step:
        return statistics.get("action", {})
    if settings.method not in STATISTICAL:
        return {}
    of = "absolute" if delta is None else delta.name
    key = f"action.{of}.chunk_{chunk}{'.per_step' if settings.per_step else ''}"
    if key not in statistics:
        if not isinstance(statistics, _AddsChunks):
            raise ConfigurationError(
                f"normalization of the action needs statistics of chunks of {chunk} actions ({key!r}), which are "
                f"computed from a dataset's tables; what was given has only {sorted(statistics)}."
            )
        statistics.add_chunks(key, chunk, delta.to_delta if delta else None, per_step=settings.per_step)
    found: Mapping[str, Any] = statistics[key]
    return found
