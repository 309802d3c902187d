"""Field specifications that other projects' robot descriptions leave out, and action checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Contract, Field
from forehand.errors import ConfigurationError, ContractMismatch

FieldSpecs = Sequence[Mapping[str, Any]]
"""Fields as configuration gives them: ``[{"name": "position", "size": 3, "unit": "m", "mode": "delta"}, …]``."""


def override_fields(derived: tuple[Field, ...], specs: FieldSpecs | None, option: str) -> tuple[Field, ...]:
    """``derived`` fields, or those that the configuration gives under ``option`` in their place.

    Other projects' robot descriptions give the number of elements, and seldom their meaning. Raises
    :class:`ConfigurationError` when ``specs`` are not fields, or describe another number of elements.
    """
    if specs is None:
        return derived
    try:
        fields = tuple(Field(**_lists_to_tuples(f)) for f in specs)
        size = sum(f.size for f in fields)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{option} must be a list of fields such as {{name: position, size: 3, unit: m}}: {error}."
        ) from error
    needed = sum(f.size for f in derived)
    if size != needed:
        raise ConfigurationError(
            f"{option} describes {size} numbers ({', '.join(f'{f.name} {f.size}' for f in fields)}), but there are "
            f"{needed} ({', '.join(f'{f.name} {f.size}' for f in derived)}). Make the sizes add up."
        )
    return fields


def stated_rate(rate: float, option: str = "robot.options.rate") -> float:
    """The control rate in Hz that is stated under ``option``; :class:`ConfigurationError` if it is not positive."""
    if not isinstance(rate, (int, float)) or not (math.isfinite(rate) and rate > 0):
        raise ConfigurationError(f"{option} must be a positive number of Hz, not {rate!r}.")
    return float(rate)


def _lists_to_tuples(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}


def validate_action(action: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """``action`` as (A,) float32, clipped to the contract's range where it states one.

    Raises :class:`ContractMismatch`, before anything moves, if it is not A finite numbers.
    """
    try:
        numbers = np.array(action, dtype=np.float32)
    except (TypeError, ValueError):
        numbers = np.empty(0, np.float32)
    if numbers.shape != (contract.action_size,) or not np.isfinite(numbers).all():
        layout = ", ".join(f"{f.name} {f.size}" for f in contract.action)
        raise ContractMismatch(
            f"An action is {contract.action_size} finite numbers ({layout}), but this one is {action!r}. "
            f"Nothing was moved."
        )
    low = np.concatenate([f.low or (-np.inf,) * f.size for f in contract.action])
    high = np.concatenate([f.high or (np.inf,) * f.size for f in contract.action])
    clipped: NDArray[np.float32] = np.clip(numbers, low, high).astype(np.float32)
    return clipped
