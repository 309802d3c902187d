"""Checks of observations and commands for shape, NaN and infinity, with errors that name the field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.errors import ContractMismatch, NotFinite
from forehand.robot import Observation


def require_finite(what: str, values: NDArray[Any], fields: Sequence[Field]) -> None:
    """Raise :class:`NotFinite` for the first number of ``values`` (…, S) that is not finite.

    ``fields``: what the S elements are; the message names the field, the element within it, and the value.
    """
    finite = np.isfinite(values)
    if finite.all():
        return
    *row, element = (int(index) for index in np.argwhere(~finite)[0])
    value = values[(*row, element)]
    for field in fields:
        if element < field.size:
            raise NotFinite(f"{what} is not finite: element {element} of {field.name!r} is {value}.")
        element -= field.size
    raise NotFinite(f"{what} is not finite: element {element} behind its fields is {value}.")


def require_observation(observation: Observation, contract: Contract, cameras: Iterable[str]) -> None:
    """Raise :class:`ContractMismatch` or :class:`NotFinite` unless a policy of ``contract`` can read ``observation``.

    Images of the ``cameras`` may have any height and width, and are uint8, or floats that were normalized already. See
    :func:`require_finite_observation` for the other checks.
    """
    for camera in cameras:
        image = observation.images.get(camera)
        if not (isinstance(image, np.ndarray) and _is_image(image)):
            raise ContractMismatch(
                f"camera {camera!r}: the policy needs an image (H, W, 3) uint8, but it is {_described(image)}. The "
                f"observation has the cameras {sorted(observation.images)}."
            )
    state = observation.state
    numbers = isinstance(state, np.ndarray) and state.dtype.kind in "fiu"
    if not numbers or state.shape != (contract.state_size,):
        names = ", ".join(f"{field.name} {field.size}" for field in contract.state) or "none"
        raise ContractMismatch(
            f"The state must be ({contract.state_size},) numbers by the policy's contract ({names}), but is "
            f"{_described(state)}."
        )
    require_finite_observation(observation, contract)


def _is_image(image: NDArray[Any]) -> bool:
    return (image.dtype == np.uint8 or image.dtype.kind == "f") and image.ndim == 3 and image.shape[2] == 3


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "missing or no array"


def require_finite_observation(observation: Observation, contract: Contract) -> None:
    """Raise :class:`NotFinite` if the state, a sensor or the time of ``observation`` is not finite.

    Raises :class:`ContractMismatch` where a sensor is missing, or is not the contract's.
    """
    require_finite("The observation's state", observation.state, contract.state)
    require_sensors(observation, contract)
    require_finite_time(observation)


def require_sensors(observation: Observation, contract: Contract) -> None:
    """Raise :class:`ContractMismatch` or :class:`NotFinite` unless all sensors of ``contract`` are as it says.

    RGB cameras are not looked at.
    """
    for sensor in contract.sensors:
        sensor.check(observation.sensors.get(sensor.name))


def require_finite_time(observation: Observation) -> None:
    """Raise :class:`NotFinite` if the time of ``observation`` is not a finite number."""
    try:
        finite = math.isfinite(observation.time)
    except TypeError:  # no number at all, such as None
        finite = False
    if not finite:
        raise NotFinite(f"The observation's time is not finite: {observation.time}.")
