"""Task families: sentences and success conditions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from forehand import Episode
from forehand.errors import ConfigurationError
from forehand_tabletop.blocks.blocks import BLOCK_SIZE, BLOCKS, BlockState

PUSH_DISTANCE = 0.08  # m, away from the robot
LIFT_HEIGHT = 0.06  # m, from the table to the block's underside
LYING = BLOCK_SIZE / 2  # m, height of the centre of a block on the table
SLACK = 0.006  # m, in height, between a block that lies and one that does not
AT_REST = 0.03  # m/s
FINGERS = frozenset({"left_finger", "right_finger"})

Options = Mapping[str, str | int | float | bool]
Blocks = Mapping[str, BlockState]


@dataclass(frozen=True)
class Task:
    """One family of tasks.

    sentence: with a placeholder for each option; choices: the options of its tasks; max_steps: control steps of an
    episode; accomplished: success condition ``(options, start, now)`` on the blocks at the episode's start and now.
    """

    sentence: str
    choices: tuple[Mapping[str, str], ...]
    max_steps: int
    accomplished: Callable[[Options, Blocks, Blocks], bool]

    def instruction(self, options: Options) -> str:
        """The sentence with these options filled in."""
        return self.sentence.format(**options)


def pushed(options: Options, start: Blocks, now: Blocks) -> bool:
    """The block lies on the table, at least 8 cm further from the robot than at the start."""
    block = now[str(options["block"])]
    return _lies_on_table(block) and _forward(block, start[str(options["block"])]) >= PUSH_DISTANCE


def lifted(options: Options, start: Blocks, now: Blocks) -> bool:
    """The block's underside is at least 6 cm above the table, and both fingers hold it."""
    block = now[str(options["block"])]
    return bool(block.position[2] - LYING >= LIFT_HEIGHT) and block.touching >= FINGERS


def stacked(options: Options, start: Blocks, now: Blocks) -> bool:
    """The block rests on the other one, which lies on the table, and no finger touches it."""
    block, below = now[str(options["block"])], now[str(options["onto"])]
    offset = block.position - below.position
    return (
        _lies_on_table(below)
        and str(options["onto"]) in block.touching
        and not block.touching & FINGERS
        and bool(np.linalg.norm(offset[:2]) < BLOCK_SIZE / 2)
        and bool(abs(offset[2] - BLOCK_SIZE) < SLACK)
        and block.speed < AT_REST
    )


ONE_BLOCK = tuple({"block": block} for block in BLOCKS)
TWO_BLOCKS = tuple({"block": block, "onto": onto} for block, onto in itertools.permutations(BLOCKS, 2))

TASKS: Mapping[str, Task] = {
    "push": Task("push the {block} block forward", ONE_BLOCK, 60, pushed),
    "lift": Task("lift the {block} block", ONE_BLOCK, 60, lifted),
    "stack": Task("stack the {block} block on the {onto} block", TWO_BLOCKS, 90, stacked),
}


def task_of(episode: Episode) -> Task:
    """The family of an episode; raises :class:`ConfigurationError` if the benchmark does not have its task."""
    task = TASKS.get(episode.task)
    if task is None or dict(episode.options) not in task.choices:
        raise ConfigurationError(
            f"The tabletop has no task {episode.task!r} with options {dict(episode.options)}. It has "
            + ", ".join(f"{name!r} with {' and '.join(known.choices[0])}" for name, known in TASKS.items())
            + f"; blocks are {', '.join(BLOCKS)}. Take episodes from the benchmark 'tabletop'."
        )
    return task


def _lies_on_table(block: BlockState) -> bool:
    return bool(abs(block.position[2] - LYING) < SLACK)


def _forward(now: BlockState, start: BlockState) -> float:
    return float(now.position[0] - start.position[0])
