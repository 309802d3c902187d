"""Optional sensors of the simulated arm: depth of its cameras, forces on its fingers, and positions of objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Sensor
from forehand.errors import ConfigurationError, nearest
from forehand_tabletop.arm.arm_simulation import ArmSimulation

DEPTH = {"depth_static": "static", "depth_wrist": "wrist"}
"""Depth sensor → the camera that it belongs to."""

FINGER_FORCES = "finger_forces"
OBJECT_POSITIONS = "object_positions"


def arm_sensors(names: Iterable[str], image_size: int, objects: int) -> tuple[Sensor, ...]:
    """The sensors of these names beside ``objects`` objects; raises :class:`ConfigurationError` for others.

    ``depth_static``, ``depth_wrist``: (image_size, image_size) uint16 mm, 0 where there is nothing as far as the camera
    renders. ``finger_forces``: (6,) float32 N, the sum of the contact forces on the left and on the right finger, base
    frame. ``object_positions``: (3 · objects,) float32 m, the centres of the objects one after the other, base frame,
    which come from the simulator's state and which no sensor of a real arm measures.
    """
    known = {
        name: Sensor(name, "depth", (image_size, image_size), "uint16", unit="mm", role=role)
        for name, role in DEPTH.items()
    }
    known[FINGER_FORCES] = Sensor(FINGER_FORCES, "vector", (6,), "float32", unit="N", frame="base")
    known[OBJECT_POSITIONS] = Sensor(OBJECT_POSITIONS, "vector", (3 * objects,), "float32", unit="m", frame="base")
    for name in names:
        if name not in known:
            raise ConfigurationError(f"robot.options.sensors: there is no {name!r}. {nearest(name, known)}")
    return tuple(known[name] for name in dict.fromkeys(names))


def measure(simulation: ArmSimulation, sensors: Sequence[Sensor]) -> dict[str, NDArray[Any]]:
    """What ``sensors`` measure now."""
    cameras = [DEPTH[s.name] for s in sensors if s.name in DEPTH]
    depths = simulation.render_depth(cameras) if cameras else {}
    found: dict[str, NDArray[Any]] = {}
    for sensor in sensors:
        if sensor.name in DEPTH:
            counts = np.rint(depths[DEPTH[sensor.name]] / sensor.scale)
            found[sensor.name] = np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)
        else:
            vectors = simulation.finger_forces() if sensor.name == FINGER_FORCES else simulation.object_positions()
            found[sensor.name] = vectors.reshape(-1).astype(np.float32)
    return found
