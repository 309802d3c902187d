"""What is held stays held, and nothing flies away."""

from __future__ import annotations

import numpy as np

from forehand import Episode
from forehand_tabletop.blocks.expert import TabletopExpert
from forehand_tabletop.blocks.robot import TabletopRobot

EPISODE = Episode("lift", "lift the green block", 2, 60, {"block": "green"})


def test_a_block_stays_between_the_fingers_while_the_arm_swings(robot: TabletopRobot) -> None:
    robot.reset(EPISODE)
    expert = TabletopExpert(robot, EPISODE)
    while not robot.success:
        robot.act(expert.act())
    for _ in range(5):  # higher, so that swinging does not end the success
        robot.act(expert.act())
    grasped = robot.simulation.blocks()["green"].position - robot.simulation.tool_position
    for step in range(60):
        swing = 0.025 * np.sin(2 * np.pi * step / np.array([20, 12, 10]))
        robot.act(np.array([*swing * (1, 1, 0.3), 0, 0, 0, -1], np.float32))
        held = robot.simulation.blocks()["green"].position - robot.simulation.tool_position
        assert np.linalg.norm(held - grasped) < 0.01
        assert robot.success


def test_pressing_a_block_against_the_table_throws_nothing(robot: TabletopRobot) -> None:
    robot.reset(EPISODE)
    robot.simulation.place_block("green", np.array([*robot.simulation.tool_position[:2], 0.02]))
    for _ in range(25):
        robot.act(np.array([0, 0, -0.04, 0, 0, 0, -1], np.float32))
    for block in robot.simulation.blocks().values():
        assert block.speed < 0.1
        assert 0.01 < block.position[2] < 0.03
    assert np.isfinite(robot.observe().state).all()
