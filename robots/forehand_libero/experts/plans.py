"""Plans: which skills make the predicates of a task's goal true, and in which order."""

from __future__ import annotations

import numpy as np

from forehand_libero.experts.scene import Scene
from forehand_libero.experts.skills import Actions, Skills, Unsolvable

ROUNDS = 3
"""How often predicates that are not true, or no longer, are tried again."""


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
            yield from skills.place(name, *_in_basket(scene, name, region))
        case _:
            raise Unsolvable(f"there is no skill for {' '.join(goal)}")


def _in_basket(scene: Scene, name: str, region: str) -> tuple[np.ndarray, float]:
    """Where an object is let go over a basket, and how low the hand may be."""
    centre, _, _ = scene.region(region)
    rim = float(scene.points(scene.parent(region))[:, 2].max())
    spot = np.array([*centre[:2], rim - 0.13])
    return spot, rim - 0.01
