"""The arm moves as the published numbers say, and goes where it is sent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forehand.contracts.rotations import from_axis_angle
from forehand_tabletop.arm import panda
from forehand_tabletop.arm.kinematics import (
    matrix_from_rotation_vector,
    rotation_vector,
)
from forehand_tabletop.blocks.robot import TabletopRobot

HALF = math.pi / 2
# Franka Control Interface documentation, "Denavit-Hartenberg parameters" (Craig's convention): a, d, alpha.
TABLE = [
    (0, 0.333, 0),
    (0, 0, -HALF),
    (0, 0.316, HALF),
    (0.0825, 0, HALF),
    (-0.0825, 0.384, -HALF),
    (0, 0, HALF),
    (0.088, 0, HALF),
    (0, 0.107, 0),
]
CONFIGURATIONS = {
    "ready": panda.READY,
    "bent": (0.3, -0.5, 0.2, -2.0, -0.4, 1.9, 1.1),
    "aside": (-1.2, 0.7, -0.6, -1.1, 0.8, 2.4, -0.9),
}


def flange_by_table(joints: tuple[float, ...]) -> np.ndarray:
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(TABLE, (*joints, 0.0), strict=True):
        ca, sa, ct, st = math.cos(alpha), math.sin(alpha), math.cos(theta), math.sin(theta)
        pose = pose @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    return pose


@pytest.mark.parametrize("joints", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_the_tool_is_where_the_published_table_puts_it(robot: TabletopRobot, joints: tuple[float, ...]) -> None:
    position, rotation = robot.simulation.inverse_kinematics.pose(np.array(joints))
    flange = flange_by_table(joints)
    expected = flange @ np.array([0, 0, 0.1034, 1])
    np.testing.assert_allclose(position, expected[:3], atol=1e-9)
    # The hand is turned by -45 degrees on the flange; the tool frame is the hand's, half a turn about its x axis.
    c, s = math.cos(-math.pi / 4), math.sin(-math.pi / 4)
    hand = flange[:3, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    np.testing.assert_allclose(rotation, hand @ np.diag([1, -1, -1]), atol=1e-9)


def test_at_the_ready_pose_the_hand_points_straight_down(robot: TabletopRobot) -> None:
    position, rotation = robot.simulation.inverse_kinematics.pose(np.array(panda.READY))
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(position, [0.3069, 0, 0.4869], atol=1e-3)  # as Franka's own examples state it


@pytest.mark.parametrize("vector", [(0, 0, 0), (0.3, -0.8, 2.0), (-2.0, 1.2, -0.1)])
def test_rotation_vectors_are_those_of_the_core(vector: tuple[float, float, float]) -> None:
    matrix = from_axis_angle(vector)
    np.testing.assert_allclose(matrix_from_rotation_vector(np.array(vector)), matrix, atol=1e-12)
    np.testing.assert_allclose(rotation_vector(matrix), vector, atol=1e-9)


def test_inverse_kinematics_reaches_the_whole_workspace(robot: TabletopRobot) -> None:
    solver = robot.simulation.inverse_kinematics
    for x in (0.30, 0.50, 0.74):
        for y in (-0.22, 0.0, 0.22):
            for z in (0.02, 0.30):
                joints = np.array(panda.READY)
                for _ in range(20):
                    joints = solver.solve(joints, np.array([x, y, z]), np.eye(3))
                position, rotation = solver.pose(joints)
                assert np.linalg.norm(position - (x, y, z)) < 2e-3
                assert np.linalg.norm(rotation_vector(rotation)) < 1e-2
                assert (joints >= panda.JOINT_LOW).all()
                assert (joints <= panda.JOINT_HIGH).all()


def test_one_pose_of_the_hand_means_one_pose_of_the_arm(robot: TabletopRobot) -> None:
    solver, goal = robot.simulation.inverse_kinematics, np.array([0.5, 0.1, 0.1])
    arrived = []
    for detour in ([0.3, -0.2, 0.3], [0.7, 0.2, 0.05]):
        joints = np.array(panda.READY)
        for waypoint in (np.array(detour), goal):
            for _ in range(30):
                joints = solver.solve(joints, waypoint, np.eye(3))
        arrived.append(joints)
    np.testing.assert_allclose(*arrived, atol=1e-3)
