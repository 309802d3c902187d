"""Pairs of tasks in one sentence, to be done in either order. Needs no simulator."""

from __future__ import annotations

import random

from forehand_tabletop.chains.dimensions import BLOCKS
from forehand_tabletop.chains.tasks import TASKS
from forehand_tabletop.chains.world import SymbolicState

SECOND = "second_task"  # option of an episode: what is asked for beside its task
FIRST = "first_task"  # likewise: which of the two the expert begins with

_OBJECTS = frozenset({*BLOCKS, "drawer", "door", "slider", "bulb", "light"})

PAIRED = tuple(task for task in TASKS if task.split("_")[0] not in ("lift", "place", "stack"))
"""The tasks that can be one of two: before and after them the hand is empty."""


def partners(task: str, symbols: SymbolicState) -> list[str]:
    """The tasks with other objects that can be done before ``task`` and after it, from ``symbols``."""
    return [other for other in PAIRED if not _objects(task) & _objects(other) and _in_either_order(task, other, symbols)]


def drawn_first(task: str, other: str, seed: int) -> str:
    """The one of two tasks that the expert begins with, by an episode's ``seed``; nothing else depends on this draw."""
    return random.Random(f"order {seed}").choice((task, other))


def _in_either_order(task: str, other: str, symbols: SymbolicState) -> bool:
    return all(
        TASKS[one].possible(symbols) and TASKS[two].possible(TASKS[one].after(symbols))
        for one, two in ((task, other), (other, task))
    )


def _objects(task: str) -> frozenset[str]:
    return _OBJECTS & set(task.split("_"))
