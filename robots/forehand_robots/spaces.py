"""Conversion between Gymnasium spaces and contract fields and cameras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from forehand import Field
from forehand.errors import ConfigurationError

Leaves = dict[str, Any]

SINGLE = "observation"
"""The key of an observation that is not a dictionary."""


def leaves(space: gymnasium.Space[Any]) -> Leaves:
    """The spaces inside nested dictionaries by their path, ``"pixels/top"``; any other space under :data:`SINGLE`."""
    return _flat(space.spaces, "") if isinstance(space, gymnasium.spaces.Dict) else {SINGLE: space}


def values(observation: Any) -> Leaves:
    """The values of an observation, by the same paths."""
    return _flat(observation, "") if isinstance(observation, Mapping) else {SINGLE: observation}


def is_image(space: Any) -> bool:
    """Whether ``space`` holds images, (H, W, 3) uint8."""
    return (
        isinstance(space, gymnasium.spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[2] == 3
    )


def state_field(key: str, space: Any) -> Field:
    """A field of the state; whatever shape the numbers have, they are laid out in row-major order."""
    if isinstance(space, gymnasium.spaces.MultiBinary):
        return Field(key, int(np.prod(space.shape)))
    if not isinstance(space, gymnasium.spaces.Box) or is_image(space):
        raise ConfigurationError(
            f"{key!r} of the observation is {space}, which cannot be part of a state: that needs a Box of numbers. Name "
            f"the keys to use with robot.options.state=[…]."
        )
    return _field(key, space)


def action_fields(space: gymnasium.Space[Any]) -> tuple[Field, ...]:
    """The fields of an action: one for a Box, one for each Box of a Dict."""
    boxes = {k: s for k, s in leaves(space).items() if isinstance(s, gymnasium.spaces.Box)}
    if len(boxes) < len(leaves(space)) or not all(np.issubdtype(s.dtype, np.floating) for s in boxes.values()):
        raise ConfigurationError(
            f"The environment's actions are {space}, but a robot's are real numbers: a Box of floats, or a Dict of them. "
            f"Choose its continuous variant if it has one, or wrap it."
        )
    return tuple(_field("action" if key == SINGLE else key, box) for key, box in boxes.items())


def to_action(action: NDArray[np.float32], space: gymnasium.Space[Any]) -> Any:
    """``action`` (A,), laid out as by :func:`action_fields`, as an element of ``space``."""
    if isinstance(space, gymnasium.spaces.Dict):
        taken, parts = 0, {}
        for key, inner in space.spaces.items():
            size = sum(int(np.prod(leaf.shape)) for leaf in leaves(inner).values())
            parts[key] = to_action(action[taken : taken + size], inner)
            taken += size
        return parts
    assert isinstance(space, gymnasium.spaces.Box)
    return action.reshape(space.shape).astype(space.dtype)


def _field(name: str, box: gymnasium.spaces.Box) -> Field:
    low, high = (tuple(float(v) for v in np.ravel(bound)) for bound in (box.low, box.high))
    # Bounds have to be finite in every element, since JSON has no infinity.
    bounded = np.isfinite(low).all() and np.isfinite(high).all()
    return Field(name, int(np.prod(box.shape)), low=low if bounded else None, high=high if bounded else None)


def _flat(tree: Mapping[str, Any], prefix: str) -> Leaves:
    found: Leaves = {}
    for key, value in tree.items():
        inner = value.spaces if isinstance(value, gymnasium.spaces.Dict) else value
        found |= _flat(inner, f"{prefix}{key}/") if isinstance(inner, Mapping) else {f"{prefix}{key}": value}
    return found
