"""Skills for what opens to the side: put an object into it, and close its door."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from forehand.contracts.rotations import to_axis_angle
from forehand_libero.experts.geometry import UP, Array, turned_by
from forehand_libero.experts.grasps import Hand
from forehand_libero.experts.skills import TRIES, Actions, Skills, Unsolvable
from forehand_libero.experts.spots import support

TILT = 1.2
"""How far the hand leans from pointing down, rad, so that it passes below the upper edge of an opening."""

HANDLE = 0.018
"""How much of an object counts as its handle, m, from where it ends."""


def insert(
    skills: Skills, name: str, container: str, middle: Array, direction: Array, done: Callable[[], bool]
) -> Actions:
    """Take an object by its handle with a leaning hand, and bring it along ``direction`` (3,) to a container's middle."""
    scene = skills.scene
    yield from _pick_leaning(skills, name, direction)
    floor = support(scene.points(container), middle, float(middle[2]))
    skills.phase = "carry"
    walls = scene.points(container)
    front = float((walls[np.abs(walls[:, 2] - floor) < 0.02] @ direction).min())
    height = floor + 0.012 + scene.hand[2] - skills.bottom(name)
    yield from skills.reach(np.array([*scene.hand[:2], height]), near=0.01)

    def towards(depth: float) -> Array:
        """Where the hand is to be for the object to be at that depth, and before the middle of the opening."""
        missing = middle - scene.position(name)
        across = missing - direction * (missing @ direction)
        target = scene.hand + across + direction * (depth - scene.position(name) @ direction)
        target[2] = height
        return target

    yield from skills.reach(lambda: towards(front - 0.09), near=0.012)
    skills.phase = "insert"
    yield from skills.reach(lambda: towards(float(middle @ direction)), near=0.008, limit=60, speed=0.6)
    skills.phase = "place"
    yield from skills.reach(scene.hand - 0.01 * UP, near=0.004, limit=8)
    yield from skills.grip(False, 8)
    skills.phase = "retreat"
    yield from skills.reach(scene.hand - 0.16 * direction + 0.01 * UP, near=0.03, limit=50)
    if not done():
        yield from _nudge(skills, name, direction, done)


def close_door(skills: Skills, name: str, joint: str, done: Callable[[], bool]) -> Actions:
    """Push a door from outside about its hinge, with closed fingers over its upper edge."""
    scene = skills.scene
    value, hinge, axis, body = scene.joint(joint)
    shut = -math.copysign(1.0, value * float(axis[2]))  # the sense in which it closes, from above
    cloud = scene.points(name, body)
    upper = float(cloud[:, 2].max())
    flat = cloud[:, :2] - hinge[:2]
    along = flat.mean(axis=0) / np.linalg.norm(flat.mean(axis=0))
    outside = -shut * np.array([-along[1], along[0]])
    radius = 0.6 * float((flat @ along).max())
    face = float((flat[np.abs(flat @ along - radius) < 0.02] @ outside).max())
    start = scene.joint(joint)[0]

    def before(angle: float, away: float) -> Array:
        """Beside the outer face, the door being turned by ``angle`` from where it is now."""
        turn = turned_by(angle)[:2, :2]
        return np.array([*(hinge[:2] + turn @ (radius * along + (face + away) * outside)), upper - 0.018])

    skills.phase = "approach"
    yield from skills.grip(True, 6)
    yield from skills.travel(before(0.0, 0.05), skills.turn_to(skills.yaw), near=0.015)
    skills.phase = "push"
    for _ in range(160):
        if done():
            break
        turned = float(axis[2]) * (scene.joint(joint)[0] - start)
        target = before(turned + 0.35 * shut, 0.0)
        turn = to_axis_angle(skills.rotation @ scene.hand_rotation.T)
        yield skills.command(target - scene.hand, turn, 0.8)
    skills.phase = "retreat"
    yield from skills.reach(scene.hand + 0.08 * UP, near=0.03, limit=30)


def _pick_leaning(skills: Skills, name: str, direction: Array) -> Actions:
    """Grasp the part of an object that juts out against ``direction``, a handle, with a leaning hand, and lift it."""
    scene = skills.scene
    across = np.cross(UP, direction)
    for _ in range(TRIES):
        cloud = scene.points(name)
        end = float((cloud @ direction).min())
        handle = cloud[cloud @ direction < end + HANDLE]
        low, high = handle.min(axis=0), handle.max(axis=0)
        if float(np.ptp(handle @ across)) > Hand().open - 0.01:
            raise Unsolvable(f"{name} has nothing on that side that fits between the fingers")
        place = (low + high) / 2
        place += direction * (end + HANDLE / 2 - place @ direction)
        skills.phase = "approach"
        leaning = skills.lean(direction, TILT)
        yield from skills.grip(False, 8)
        bottom = skills.bottom(name)
        yield from skills.travel(place - 0.09 * leaning[:, 2] + 0.02 * UP, leaning, near=0.012)
        skills.phase = "grasp"
        yield from skills.reach(place, near=0.004, limit=60)
        yield from skills.grip(True)
        skills.phase = "lift"
        yield from skills.reach(scene.hand + 0.06 * UP, near=0.015, limit=40)
        if skills.bottom(name) > bottom + 0.03:
            return
    raise Unsolvable(f"{name} slipped {TRIES} times")


def _nudge(skills: Skills, name: str, direction: Array, done: Callable[[], bool]) -> Actions:
    """Push an object on in ``direction`` with closed fingers."""
    scene = skills.scene
    skills.phase = "push"
    yield from skills.grip(True, 6)
    cloud = scene.points(name)
    behind = scene.position(name)
    behind = behind + direction * (float((cloud @ direction).min()) - behind @ direction - 0.03)
    behind[2] = skills.top(name) - 0.03
    yield from skills.reach(np.array([*behind[:2], scene.hand[2]]) - 0.03 * direction, near=0.015)
    yield from skills.reach(behind, near=0.012, limit=40)
    for _ in range(50):
        if done():
            break
        turn = to_axis_angle(skills.rotation @ scene.hand_rotation.T)
        sideways = scene.position(name) - scene.hand
        sideways -= direction * (sideways @ direction)
        sideways[2] = behind[2] - scene.hand[2]
        yield skills.command(sideways + 0.05 * direction, turn, 0.6)
    yield from skills.reach(scene.hand - 0.14 * direction, near=0.03, limit=40)
