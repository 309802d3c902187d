"""Example contract and observations for conformance checks. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Camera, Contract, Field
from forehand.contracts.sensor import DEPTH, Sensor
from forehand.robot import Observation

CONTRACT = Contract(
    cameras=(Camera("static", 48, 48, "static"), Camera("wrist", 48, 48, "wrist")),
    state=(
        Field("position", 3, unit="m", frame="base", mode="absolute"),
        Field("rotation", 3, unit="rad", frame="base", rotation="euler_xyz_extrinsic", mode="absolute"),
        Field("gripper", 1, unit="1", mode="absolute", gripper="open", low=(-1.0,), high=(1.0,)),
    ),
    action=(
        Field("position", 3, unit="m", frame="base", mode="delta", low=(-0.02,) * 3, high=(0.02,) * 3),
        Field("rotation", 3, unit="rad", frame="base", rotation="euler_xyz_extrinsic", mode="delta"),
        Field("gripper", 1, unit="1", mode="absolute", gripper="open", low=(-1.0,), high=(1.0,)),
    ),
    rate=15.0,
)


def observation(contract: Contract, generator: np.random.Generator, time: float) -> Observation:
    """Random pixels, a random state, and random measurements of all other sensors."""
    return Observation(
        images={c.name: generator.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in contract.cameras},
        state=generator.standard_normal(contract.state_size).astype(np.float32),
        time=time,
        sensors={s.name: measurement(s, generator) for s in contract.sensors},
    )


def measurement(sensor: Sensor, generator: np.random.Generator) -> NDArray[Any]:
    """A random array of ``sensor``: depth with holes, and of a cloud that varies any number of points."""
    shape = list(sensor.full_shape)
    if None in sensor.shape:
        shape[0] = int(generator.integers(shape[0] + 1))
    if sensor.kind != DEPTH:
        return generator.standard_normal(shape).astype(np.float32)
    depth = generator.uniform(0.2, 2.0, shape) * (generator.random(shape) > 0.1) / sensor.scale
    return depth.clip(0, 65535).astype(sensor.dtype)


def require(kept: Any, promise: str) -> None:
    """Raise AssertionError with the promise that was broken; unlike ``assert``, also under ``python -O``."""
    if not kept:
        raise AssertionError(promise)
