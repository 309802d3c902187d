"""Skills of the hand, each a generator of actions: reach, grip, pick, place, push."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.rotations import from_axis_angle, to_axis_angle
from forehand_libero.experts.geometry import UP, Array, pointing_down, turned_by
from forehand_libero.experts.grasps import Grasp, grasps
from forehand_libero.experts.scene import Scene

Actions = Iterator[NDArray[np.float32]]

STRAIGHT_GAIN, TURN_GAIN = 12.0, 1.2
"""Action per metre and per radian of what is missing."""

FAR = 1.95
"""How far the hand turns from where it is at the beginning, rad, so that the arm's last joint stays within its range."""

TRIES = 4
"""Grasps that are tried of an object."""


class Unsolvable(Exception):
    """A skill found no way."""


class Skills:
    """What the hand can do in ``scene``. ``phase`` names what it does at the moment."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.phase = scene, ""
        self.closed = False
        self.rotation = scene.hand_rotation
        closing = self.rotation[:, 0]
        self.yaw = math.atan2(closing[1], closing[0])
        """The direction along which the hand closes at the beginning."""
        self._yaw = self.yaw

    def turn_to(self, yaw: float, then: float = 0.0) -> Array:
        """The orientation (3, 3) of the hand pointing down, closing along ``yaw`` or turned by a half from it.

        It is the nearer of those that the arm reaches, also when the hand is turned by ``then`` afterwards.
        """
        options = [yaw + k * math.pi for k in range(-3, 4)]
        reached = [o for o in options if max(abs(o - self.yaw), abs(o + then - self.yaw)) < FAR]
        self._yaw = min(reached or options, key=lambda option: abs(option - self._yaw))
        return pointing_down(self._yaw)

    def lean(self, direction: Array, tilt: float) -> Array:
        """The orientation (3, 3) of a hand that closes across the horizontal ``direction`` (3,), and leans towards it."""
        side = np.cross(UP, direction)
        return from_axis_angle(-tilt * side) @ self.turn_to(math.atan2(side[1], side[0]))

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
        self.rotation = self.rotation if rotation is None else rotation
        before, slow = self.scene.hand, 0
        for _ in range(limit):
            missing = (target() if callable(target) else target) - self.scene.hand
            turn = to_axis_angle(self.rotation @ self.scene.hand_rotation.T)
            distance, angle = float(np.linalg.norm(missing)), float(np.linalg.norm(turn))
            if (distance < near and angle < turned) or slow >= 6:
                return
            yield self.command(missing, turn, speed)
            now = self.scene.hand
            slow = slow + 1 if np.linalg.norm(now - before) < 0.0008 and angle < 0.15 else 0
            before = now

    def grip(self, closed: bool, steps: int = 12) -> Actions:
        """Close or open the gripper, until the fingers stand still or ``steps`` have passed."""
        self.closed = closed
        place, before, still = self.scene.hand, self.scene.opening, 0
        for _ in range(steps):
            turn = to_axis_angle(self.rotation @ self.scene.hand_rotation.T)
            yield self.command(place - self.scene.hand, turn, 1.0)
            still = still + 1 if abs(self.scene.opening - before) < 0.0005 else 0
            before = self.scene.opening
            if still >= 3:
                return

    def travel(
        self,
        target: Array,
        rotation: Array | None = None,
        carried: str = "",
        near: float = 0.01,
        arrived: Callable[[], Array] | None = None,
    ) -> Actions:
        """Go to ``target`` (3,) over everything that is between, and then down, to what ``arrived`` says by then."""
        height = max(self._clear_height(target, carried), float(target[2]))
        here = self.scene.hand
        if here[2] < height - 0.02:
            yield from self.reach(np.array([*here[:2], height]), None, near=0.02, turned=9.0)
        height = max(height, min(self.scene.hand[2], height + 0.05))
        yield from self.reach(np.array([*target[:2], height]), rotation, near=0.012, turned=0.08)
        if arrived is not None:  # what is carried moves in the hand, and about it where the hand turns
            yield from self.reach(lambda: np.array([*arrived()[:2], height]), near=0.008, limit=40)
        yield from self.reach(arrived or target, near=near)

    def pick(
        self, name: str, choose: Callable[[list[Grasp]], list[Grasp]] = lambda found: found, turn: float = 0.0
    ) -> Actions:
        """Grasp an object from above and lift it, so that it can be turned by ``turn``, rad; tries others on failure.

        choose: which of the planned grasps are tried, and in which order.
        """
        failed: list[Grasp] = []
        for _ in range(TRIES):
            self.phase = "approach"
            if self.closed:
                yield from self.grip(False)
            found = choose(grasps(self.scene.points(name), self.scene.others(name), self.yaw))
            found = [grasp for grasp in found if all(_apart(grasp, other) for other in failed)]
            if not found:
                raise Unsolvable(f"no grasp of {name}")
            grasp = found[0]
            bottom = self.bottom(name)
            above = grasp.position + 0.06 * UP
            yield from self.travel(above, self.turn_to(grasp.yaw, turn), near=0.008)
            self.phase = "grasp"
            yield from self.reach(grasp.position, near=0.003, limit=60)
            yield from self.grip(True)
            self.phase = "lift"
            yield from self.reach(self.scene.hand + 0.08 * UP, near=0.02, limit=40)
            if self.bottom(name) > bottom + 0.03:
                return
            failed.append(grasp)
        raise Unsolvable(f"{name} slipped {TRIES} times")

    def place(
        self, name: str, spot: Array, turn: float = 0.0, lowest_hand: float = -math.inf, gap: float = 0.004
    ) -> Actions:
        """Bring the grasped object to ``spot`` (3,), where its position is to be but for the height.

        On the way it is turned by ``turn``, rad. It is lowered until its lowest point is ``gap`` above the height of
        ``spot``, or the hand at ``lowest_hand``.
        """
        self.phase = "carry"
        rotation, self._yaw = turned_by(turn) @ self.rotation, self._yaw + turn

        def over() -> Array:
            return self._hand_for(name, spot)

        start = over()
        start[2] = max(spot[2] + 0.03 + self.scene.hand[2] - self.bottom(name), lowest_hand)

        def above() -> Array:
            return np.array([*over()[:2], start[2]])

        yield from self.travel(start, rotation, carried=name, near=0.02, arrived=above)
        self.phase = "place"

        def down() -> Array:
            target = over()
            target[2] = max(spot[2] + gap + self.scene.hand[2] - self.bottom(name), lowest_hand)
            return target

        yield from self.reach(down, near=0.004, limit=60, speed=0.6)
        yield from self.grip(False, 8)
        self.phase = "retreat"
        yield from self.reach(self.scene.hand + 0.08 * UP, near=0.02, limit=40)

    def push(self, name: str, part: str, direction: Array, done: Callable[[], bool], tilt: float = 0.8) -> Actions:
        """Push the outer end of a ``part`` of a fixture along a horizontal ``direction`` (3,) until it is ``done``.

        The closed hand leans by ``tilt``, rad, so that the palm stays behind the finger tips.
        """
        self.phase = "approach"
        cloud = self.scene.points(name, part)
        front = float((cloud @ direction).min())
        handle = cloud[cloud @ direction < front + 0.012]
        middle = (handle.min(axis=0) + handle.max(axis=0)) / 2
        leaning = self.lean(direction, tilt)
        contact = middle - direction * (middle @ direction - front)
        yield from self.grip(True, 6)
        away = contact - 0.07 * direction
        yield from self.travel(away + 0.08 * UP, leaning)
        yield from self.reach(away, near=0.012)
        self.phase = "push"
        for _ in range(120):
            if done():
                break
            way = (self.scene.hand - contact) @ direction
            target = contact + direction * (way + 0.08)
            turn = to_axis_angle(self.rotation @ self.scene.hand_rotation.T)
            yield self.command(target - self.scene.hand, turn, 1.0)
        self.phase = "retreat"
        yield from self.reach(self.scene.hand - 0.08 * direction + 0.05 * UP, near=0.03, limit=30)

    def twist(self, name: str, part: str, anchor: Array, done: Callable[[], bool], most: float = 1.6) -> Actions:
        """Grasp a ``part`` of a fixture near ``anchor`` (3,) and turn it counter-clockwise until it is ``done``."""
        for attempt in range(TRIES):
            self.phase = "approach"
            yield from self.grip(False, 8)
            found = grasps(self.scene.points(name, part), self.scene.others(name), self.yaw)
            found.sort(key=lambda g: float(np.linalg.norm(g.position[:2] - anchor[:2])) + 0.2 * g.span)
            if not found:
                raise Unsolvable(f"no grasp of {part}")
            grasp = found[min(attempt, len(found) - 1)]
            yield from self.travel(grasp.position + 0.05 * UP, self.turn_to(grasp.yaw), near=0.008)
            self.phase = "grasp"
            yield from self.reach(grasp.position, near=0.003, limit=60)
            yield from self.grip(True)
            self.phase = "turn"
            place, start, angle = self.scene.hand, self.rotation, 0.0
            for _ in range(70):
                if done():
                    break
                angle = min(angle + 0.06, most)
                self.rotation = turned_by(angle) @ start
                turn = to_axis_angle(self.rotation @ self.scene.hand_rotation.T)
                yield self.command(place - self.scene.hand, turn, 1.0)
            yield from self.grip(False, 8)
            self.phase = "retreat"
            yield from self.reach(self.scene.hand + 0.08 * UP, near=0.03, limit=30)
            self.rotation = self.turn_to(self.yaw)
            if done():
                return

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

    def command(self, missing: Array, turn: Array, speed: float) -> NDArray[np.float32]:
        """The action (7,) towards a displacement, m, and a turn, rad, both in axes of the world."""
        straight = STRAIGHT_GAIN * missing
        straight = straight * min(1.0, speed / max(float(np.abs(straight).max()), 1e-9))
        turning = np.clip(TURN_GAIN * turn, -speed, speed)
        return np.array([*straight, *turning, 1.0 if self.closed else -1.0], np.float32)


def _apart(grasp: Grasp, other: Grasp) -> bool:
    """Whether two grasps differ enough that the second is worth a try where the first failed."""
    return bool(np.linalg.norm(grasp.position - other.position) > 0.01 or abs(grasp.yaw - other.yaw) > 0.3)
