"""Skills of the hand, each a generator of actions: reach, grip, pick, place, push."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.rotations import to_axis_angle
from forehand_libero.experts.geometry import UP, Array, pointing_down
from forehand_libero.experts.grasps import Grasp, Hand, grasps
from forehand_libero.experts.scene import Scene

Actions = Iterator[NDArray[np.float32]]

STRAIGHT_GAIN, TURN_GAIN = 12.0, 1.2
"""Action per metre and per radian of what is missing."""

TRIES = 4
"""Grasps that are tried of an object."""


class Unsolvable(Exception):
    """A skill found no way."""


class Skills:
    """What the hand can do in ``scene``. ``phase`` names what it does at the moment."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.phase = scene, ""
        self._hand, self._closed = Hand(), False
        self._rotation = scene.hand_rotation
        closing = self._rotation[:, 0]
        self.yaw = math.atan2(closing[1], closing[0])
        """The direction along which the hand closes when it points down, at the beginning."""

    def reach(
        self,
        target: Array | Callable[[], Array],
        rotation: Array | None = None,
        near: float = 0.005,
        turned: float = 0.06,
        limit: int = 100,
        speed: float = 1.0,
    ) -> Actions:
        """Bring the hand to ``target`` (3,), or towards what it returns, and to ``rotation``; ends when it is there.

        It ends too where it gets no further, and after ``limit`` steps.
        """
        self._rotation = self._rotation if rotation is None else rotation
        before, slow = self.scene.hand, 0
        for _ in range(limit):
            missing = (target() if callable(target) else target) - self.scene.hand
            turn = to_axis_angle(self._rotation @ self.scene.hand_rotation.T)
            distance, angle = float(np.linalg.norm(missing)), float(np.linalg.norm(turn))
            if (distance < near and angle < turned) or slow >= 6:
                return
            yield self._command(missing, turn, speed)
            now = self.scene.hand
            slow = slow + 1 if np.linalg.norm(now - before) < 0.0008 and angle < 0.15 else 0
            before = now

    def grip(self, closed: bool, steps: int = 12) -> Actions:
        """Close or open the gripper, until the fingers stand still or ``steps`` have passed."""
        self._closed = closed
        place, before, still = self.scene.hand, self.scene.opening, 0
        for _ in range(steps):
            turn = to_axis_angle(self._rotation @ self.scene.hand_rotation.T)
            yield self._command(place - self.scene.hand, turn, 1.0)
            still = still + 1 if abs(self.scene.opening - before) < 0.0005 else 0
            before = self.scene.opening
            if still >= 3:
                return

    def travel(self, target: Array, rotation: Array | None = None, carried: str = "", near: float = 0.01) -> Actions:
        """Go to ``target`` (3,) over everything that is between, and then down."""
        height = max(self._clear_height(target, carried), float(target[2]))
        here = self.scene.hand
        if here[2] < height - 0.02:
            yield from self.reach(np.array([*here[:2], height]), None, near=0.02, turned=9.0)
        height = max(height, min(self.scene.hand[2], height + 0.05))
        yield from self.reach(np.array([*target[:2], height]), rotation, near=0.012, turned=0.08)
        yield from self.reach(target, None, near=near)

    def pick(self, name: str, choose: Callable[[list[Grasp]], list[Grasp]] = lambda found: found) -> Actions:
        """Grasp an object from above and lift it; another grasp is tried where that fails."""
        failed: list[Grasp] = []
        for _ in range(TRIES):
            self.phase = "approach"
            if self._closed:
                yield from self.grip(False)
            found = choose(grasps(self.scene.points(name), self.scene.others(name), self.yaw))
            found = [grasp for grasp in found if all(_apart(grasp, other) for other in failed)]
            if not found:
                raise Unsolvable(f"no grasp of {name}")
            grasp = found[0]
            bottom = self.bottom(name)
            above = grasp.position + 0.06 * UP
            yield from self.travel(above, pointing_down(grasp.yaw), near=0.008)
            self.phase = "grasp"
            yield from self.reach(grasp.position, near=0.003, limit=60)
            yield from self.grip(True)
            self.phase = "lift"
            yield from self.reach(self.scene.hand + 0.08 * UP, near=0.02, limit=40)
            if self.bottom(name) > bottom + 0.03:
                return
            failed.append(grasp)
        raise Unsolvable(f"{name} slipped {TRIES} times")

    def place(self, name: str, spot: Array, lowest_hand: float = -math.inf, gap: float = 0.004) -> Actions:
        """Bring the grasped object to ``spot`` (3,), where its position is to be but for the height.

        It is lowered until its lowest point is ``gap`` above the height of ``spot``, or the hand at ``lowest_hand``.
        """
        self.phase = "carry"

        def over() -> Array:
            return self._hand_for(name, spot)

        start = over()
        start[2] = max(spot[2] + 0.03 + self.scene.hand[2] - self.bottom(name), lowest_hand)
        yield from self.travel(start, carried=name, near=0.02)
        self.phase = "place"

        def down() -> Array:
            target = over()
            target[2] = max(spot[2] + gap + self.scene.hand[2] - self.bottom(name), lowest_hand)
            return target

        yield from self.reach(down, near=0.004, limit=60, speed=0.6)
        yield from self.grip(False, 8)
        self.phase = "retreat"
        yield from self.reach(self.scene.hand + 0.08 * UP, near=0.02, limit=40)

    def bottom(self, name: str) -> float:
        """Height of the lowest point of an object."""
        return float(self.scene.points(name)[:, 2].min())

    def top(self, name: str) -> float:
        """Height of the highest point of an object."""
        return float(self.scene.points(name)[:, 2].max())

    def _hand_for(self, name: str, spot: Array) -> Array:
        """Where the hand is to be, at the present height, for the object to be at ``spot``."""
        target = self.scene.hand
        target[:2] += spot[:2] - self.scene.position(name)[:2]
        return target

    def _clear_height(self, target: Array, carried: str) -> float:
        """Height of the hand at which it, and what it carries, passes over everything on its way."""
        cloud = self.scene.others(carried)
        start, way = self.scene.hand[:2], target[:2] - self.scene.hand[:2]
        share = np.clip((cloud[:, :2] - start) @ way / max(float(way @ way), 1e-9), 0.0, 1.0)
        beside = np.linalg.norm(cloud[:, :2] - start - share[:, None] * way, axis=1)
        reach = 0.12 if carried else 0.08
        highest = float(cloud[beside < reach][:, 2].max(initial=-math.inf))
        hang = self.scene.hand[2] - self.bottom(carried) if carried else 0.01
        return highest + hang + 0.025

    def _command(self, missing: Array, turn: Array, speed: float) -> NDArray[np.float32]:
        """The action (7,) towards a displacement, m, and a turn, rad, both in axes of the world."""
        straight = STRAIGHT_GAIN * missing
        straight = straight * min(1.0, speed / max(float(np.abs(straight).max()), 1e-9))
        turning = np.clip(TURN_GAIN * turn, -speed, speed)
        return np.array([*straight, *turning, 1.0 if self._closed else -1.0], np.float32)


def _apart(grasp: Grasp, other: Grasp) -> bool:
    """Whether two grasps differ enough that the second is worth a try where the first failed."""
    return bool(np.linalg.norm(grasp.position - other.position) > 0.01 or abs(grasp.yaw - other.yaw) > 0.3)
