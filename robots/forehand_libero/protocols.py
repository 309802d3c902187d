"""Evaluation protocols of LIBERO, as published with Seer, OpenVLA and LeRobot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand_libero.suites import original

FRESH = ("environment", "reset", "state")
"""How an episode begins: with a new environment; with a reset, which rebuilds the scene; or, fastest, with nothing but
the initial state where the task is the same as before."""


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    states: how many fixed initial states of each task; limits: control steps by original suite, and by ``""`` for all
    others; settling: how many actions come before the policy's first, all 0 but for the gripper, which is commanded
    ``settling_gripper``; first: whether the policy's first observation is that ``before`` settling or ``after`` it.
    image_size: pixels, of both cameras; orientation: how the policy's pictures lie: ``flipped_vertically`` is how the
    simulator draws them, ``flipped_horizontally`` is these turned by 180°; rotation: form of the state's rotation; fresh:
    one of :data:`FRESH`; evaluation: options of ``forehand eval``.
    """

    name: str
    states: int
    limits: Mapping[str, int]
    settling: int
    settling_gripper: float
    first: str
    image_size: int
    orientation: str
    rotation: str
    fresh: str
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def limit(self, suite: str) -> int:
        """Control steps of an episode of ``suite``, variants having those of the suite that they vary."""
        found = self.limits.get(original(suite), self.limits.get(""))
        if found is None:
            raise ConfigurationError(f"The protocol {self.name} has no step limit for {suite}: give max_steps=…")
        return found


_LIMITS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}

_SEER = Protocol(
    name="seer",
    states=20,
    limits={"": 600},
    settling=5,
    settling_gripper=0.0,
    first="before",
    image_size=128,
    orientation="flipped_vertically",
    rotation="euler_xyz_extrinsic",
    fresh="environment",
    evaluation={"chunking": {"name": "temporal_ensemble", "decay": 0.01}, "binary_gripper": True},
)
_OPENVLA = Protocol(
    name="openvla",
    states=50,
    limits=_LIMITS,
    settling=10,
    settling_gripper=-1.0,
    first="after",
    image_size=256,
    orientation="flipped_horizontally",
    rotation="axis_angle",
    fresh="reset",
    evaluation={"chunking": {"name": "receding_horizon", "steps": 1}, "binary_gripper": True},
)
_LEROBOT = replace(_OPENVLA, name="lerobot", limits=_LIMITS | {"libero_spatial": 280}, evaluation={})

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({p.name: p for p in (_SEER, _OPENVLA, _LEROBOT)})


def protocol(name: str) -> Protocol:
    """The protocol of that name; an unknown one is answered with the nearest."""
    if name not in PROTOCOLS:
        raise UnknownName(f"There is no protocol of LIBERO called {name!r}. {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]
