"""When a task counts as accomplished, and when it does not."""

from __future__ import annotations

import numpy as np
import pytest

from forehand import Episode
from forehand_tabletop.blocks.blocks import BLOCKS, BlockState
from forehand_tabletop.blocks.robot import TabletopRobot
from forehand_tabletop.blocks.tasks import TASKS

FINGERS = ("left_finger", "right_finger")
RED, RED_ON_GREEN = {"block": "red"}, {"block": "red", "onto": "green"}


def block(x: float, y: float = 0.0, z: float = 0.02, speed: float = 0.0, touching: tuple[str, ...] = ()) -> BlockState:
    return BlockState(np.array([x, y, z]), speed, frozenset(touching))


START = {"red": block(0.50), "green": block(0.45, 0.1), "blue": block(0.45, -0.1)}


def accomplished(task: str, options: dict[str, str], **moved: BlockState) -> bool:
    return TASKS[task].accomplished(options, START, START | moved)


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        ({}, False),
        ({"red": block(0.585)}, True),
        ({"red": block(0.57)}, False),  # not far enough
        ({"red": block(0.40)}, False),  # the wrong way
        ({"red": block(0.50, 0.1)}, False),  # sideways
        ({"red": block(0.60, z=0.08)}, False),  # carried
        ({"red": block(1.10, z=-0.40)}, False),  # off the table
        ({"green": block(0.60, 0.1)}, False),  # another block
    ],
)
def test_push(moved: dict[str, BlockState], expected: bool) -> None:
    assert accomplished("push", RED, **moved) is expected


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        ({}, False),
        ({"red": block(0.50, z=0.085, touching=FINGERS)}, True),
        ({"red": block(0.50, z=0.075, touching=FINGERS)}, False),  # not high enough
        ({"red": block(0.50, z=0.085)}, False),  # thrown
        ({"red": block(0.50, z=0.085, touching=("green", "left_finger"))}, False),  # leaning, not held
        ({"blue": block(0.45, -0.1, z=0.085, touching=FINGERS)}, False),  # another block
    ],
)
def test_lift(moved: dict[str, BlockState], expected: bool) -> None:
    assert accomplished("lift", RED, **moved) is expected


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        ({}, False),
        ({"red": block(0.455, 0.105, 0.06, touching=("green",))}, True),
        ({"red": block(0.455, 0.105, 0.06, touching=("green", *FINGERS))}, False),  # not released
        ({"red": block(0.455, 0.105, 0.06)}, False),  # hovering
        ({"red": block(0.455, 0.105, 0.06, speed=0.2, touching=("green",))}, False),  # not at rest
        ({"red": block(0.475, 0.100, 0.06, touching=("green",))}, False),  # half over the edge
        ({"red": block(0.490, 0.100, 0.02, touching=("green",))}, False),  # beside it
        ({"red": block(0.45, -0.1, 0.06, touching=("blue",))}, False),  # on another block
        ({"green": block(0.50, 0.0, 0.06, touching=("red",))}, False),  # the other way round
        ({"blue": block(0.45, 0.1, 0.06, touching=("green",))}, False),  # another block
    ],
)
def test_stack(moved: dict[str, BlockState], expected: bool) -> None:
    assert accomplished("stack", RED_ON_GREEN, **moved) is expected


@pytest.mark.parametrize("task", TASKS)
def test_every_choice_has_its_own_sentence(task: str) -> None:
    sentences = {TASKS[task].instruction(choice) for choice in TASKS[task].choices}
    assert len(sentences) == len(TASKS[task].choices) == {"push": 3, "lift": 3, "stack": 6}[task]


def test_sentences_read_as_agreed() -> None:
    assert TASKS["push"].instruction(RED) == "push the red block forward"
    assert TASKS["lift"].instruction(RED) == "lift the red block"
    assert TASKS["stack"].instruction(RED_ON_GREEN) == "stack the red block on the green block"


def test_the_simulator_reports_what_rests_on_what(robot: TabletopRobot) -> None:
    robot.reset(Episode("stack", "stack the red block on the green block", 4, 90, RED_ON_GREEN))
    assert robot.observe().success is False
    green = robot.simulation.blocks()["green"].position
    robot.simulation.place_block("red", green + np.array([0.005, 0, 0.041]))
    robot.hold()
    robot.hold()
    assert "green" in robot.simulation.blocks()["red"].touching
    assert robot.observe().success is True
    assert not robot.simulation.blocks()["blue"].touching & set(BLOCKS)
