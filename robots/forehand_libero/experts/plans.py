"""Plans: which skills make the predicates of a task's goal true, and in which order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forehand_libero.experts.geometry import Array, turned_by
from forehand_libero.experts.grasps import Grasp, fits
from forehand_libero.experts.openings import close_door, insert
from forehand_libero.experts.scene import Scene
from forehand_libero.experts.skills import Actions, Skills, Unsolvable
from forehand_libero.experts.spots import free_spots, support

ROUNDS = 3
"""How often predicates that are not true, or no longer, are tried again."""

SPOTS, GRASPS = 12, 60
"""How many of the best are combined."""

RIM = 0.01
"""How deep the hand may reach into a container with high walls, m."""


def solve(skills: Skills) -> Actions:
    """Make every predicate of the goal true; raises :class:`Unsolvable` where a skill finds no way."""
    scene = skills.scene
    for _ in range(ROUNDS):
        for goal in ordered(scene.goals):
            if not scene.holds(goal):
                yield from _accomplish(skills, goal)


def ordered(goals: list[list[str]]) -> list[list[str]]:
    """The predicates in the order of their work: doors and drawers are closed last."""
    return sorted(goals, key=lambda goal: goal[0] == "close")


def _accomplish(skills: Skills, goal: list[str]) -> Actions:
    scene = skills.scene
    match goal:
        case ["in", name, region] if scene.parent(region).startswith("basket"):
            yield from skills.pick(name)
            rim = skills.top(scene.parent(region))
            yield from skills.place(name, np.array([*scene.region(region)[0][:2], rim - 0.13]), lowest_hand=rim - RIM)
        case ["in", name, region] if scene.parent(region).startswith("microwave"):
            container = scene.parent(region)
            inwards = scene.rotation(container)[:, 1]
            yield from insert(skills, name, container, scene.region(region)[0], inwards, lambda: scene.holds(goal))
        case ["in" | "on", name, where]:
            yield from _put(skills, Placement.of(scene, goal[0], name, where))
        case ["turnon", name]:
            (joint,) = scene.joints(name)
            _, anchor, _, body = scene.joint(joint)
            yield from skills.twist(name, body, anchor, lambda: scene.holds(goal))
        case ["close", region] if region not in scene.names():
            (joint,) = scene.joints(region)
            value, _, axis, body = scene.joint(joint)
            yield from skills.push(
                scene.parent(region), body, -math.copysign(1.0, value) * axis, lambda: scene.holds(goal)
            )
        case ["close", name]:
            yield from close_door(skills, name, scene.joints(name)[0], lambda: scene.holds(goal))
        case _:
            raise Unsolvable(f"there is no skill for {' '.join(goal)}")


@dataclass(frozen=True)
class Placement:
    """Where object ``name`` is to stand: at a height, in a range of positions, at best at the preferred one.

    turn: by how much it is turned on the way, rad; obstacles: points (m, 3) of what it must not touch.
    """

    name: str
    low: Array
    high: Array
    preferred: Array
    height: float
    turn: float
    obstacles: Array

    @classmethod
    def of(cls, scene: Scene, predicate: str, name: str, where: str) -> Placement:
        """The placement that makes ``predicate`` true of ``name`` and an object or a region."""
        if where in scene.names():
            centre = scene.position(where)[:2]
            height = support(scene.points(where), centre)
            return cls(name, centre, centre, centre, height, 0.0, scene.others(name, where))
        middle, axes, size = scene.region(where)
        half = np.abs(axes @ size)[:2]
        centre, parent = middle[:2], scene.parent(where)
        below = float(middle[2]) if predicate == "in" else math.inf
        height = support(scene.points(parent), centre, below) if parent else float(scene.points(name)[:, 2].min())
        turn = _turn_along(scene, name, half) if predicate == "in" else 0.0
        inside = 0.85 * half
        return cls(
            name,
            centre - inside,
            centre + inside,
            centre + _share(scene, name, where) * inside,
            height,
            turn,
            scene.others(name),
        )


def _put(skills: Skills, to: Placement) -> Actions:
    """Pick an object and place it, by a grasp with room for the hand there too."""
    scene, name = skills.scene, to.name
    position = scene.position(name)
    shape = (scene.points(name) - position) @ turned_by(to.turn).T
    spots = free_spots(shape, to.obstacles, to.low, to.high, to.preferred, to.height + 0.012)[:SPOTS]
    bottom = float(shape[:, 2].min())
    chosen: dict[int, Array] = {}

    def with_room(found: list[Grasp]) -> list[Grasp]:
        usable = []
        for grasp in found[:GRASPS]:
            reach = turned_by(to.turn) @ (grasp.position - position)
            for spot in spots:
                hand = np.array([*spot, to.height + 0.004 - bottom]) + reach
                if fits(hand, grasp.yaw + to.turn, to.obstacles):
                    chosen[id(grasp)] = spot
                    usable.append(grasp)
                    break
        return usable or found

    taken: list[Grasp] = []

    def choose(found: list[Grasp]) -> list[Grasp]:
        taken[:] = with_room(found)
        return taken

    yield from skills.pick(name, choose, to.turn)
    spot = chosen.get(id(taken[0]), spots[0])
    yield from skills.place(name, np.array([*spot, to.height]), to.turn)


def _turn_along(scene: Scene, name: str, half: Array) -> float:
    """The smaller turn, rad, that brings the longer side of an object along the longer side of a region."""
    flat = scene.points(name)[:, :2]
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    if values[1] < 2.0 * values[0] or abs(half[0] - half[1]) < 0.01:
        return 0.0
    present = math.atan2(vectors[1, 1], vectors[0, 1])
    wanted = 0.0 if half[0] > half[1] else math.pi / 2
    return (wanted - present + math.pi / 2) % math.pi - math.pi / 2


def _share(scene: Scene, name: str, where: str) -> Array:
    """Where in a region an object is to be (2,), from -1 to 1: those that share a region stand side by side along x."""
    sharing = [goal[1] for goal in scene.goals if goal[0] in ("in", "on") and goal[2:] == [where]]
    return np.array([(2 * sharing.index(name) + 1) / len(sharing) - 1 if len(sharing) > 1 else 0.0, 0.0])
