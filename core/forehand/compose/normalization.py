"""Normalization of states and actions: between a contract's units and the range a network works in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forehand.contracts.contract import Field
from forehand.errors import ConfigurationError, nearest

Statistics = Mapping[str, Mapping[str, Any]]


def _limits(fields: Sequence[Field], statistics: Mapping[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    for field in fields:
        if field.low is None or field.high is None:
            raise ConfigurationError(
                f"normalization 'limits' of {where}: the contract states no range for {field.name!r}."
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


class Normalizer(nn.Module):
    """``(x - center) / scale``, and back.

    method: ``none``; ``mean_std``; ``min_max`` or ``quantiles`` (1 % and 99 % to -1 and 1); ``limits`` (the contract's
    range to -1 and 1). Elements that hardly vary (scale < 1e-4) keep a scale of 1, so that noise is not blown up.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, method: str, fields: Sequence[Field], statistics: Mapping[str, Any], where: str) -> None:
        super().__init__()
        if method not in METHODS:
            raise ConfigurationError(f"unknown normalization {method!r} of {where}. {nearest(method, METHODS)}")
        # Data without actions have no statistics of them either.
        center, scale = METHODS[method if fields else "none"](fields, statistics, where)
        self.register_buffer("center", torch.tensor(center, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(np.where(scale < 1e-4, 1.0, scale), dtype=torch.float32))

    def forward(self, values: Tensor) -> Tensor:
        """(..., S) in the contract's units → (..., S) normalized."""
        return (values - self.center) / self.scale

    def inverse(self, values: Tensor) -> Tensor:
        """(..., S) normalized → (..., S) in the contract's units."""
        return values * self.scale + self.center
