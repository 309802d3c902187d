"""Grasps planned on points: bodies, rims, neighbours; no simulator."""

import math

import numpy as np
import pytest

from forehand.errors import ConfigurationError
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.experts.geometry import filled, nearest_turn, on_triangles, pointing_down
from forehand_libero.experts.grasps import Hand, grasps
from forehand_robots.gymnasium_robot import GymnasiumRobot

NOTHING = np.zeros((0, 3))


def box(x, y, z, at=(0.0, 0.0), yaw=0.0):
    """Points of a box of these lengths that stands at height 0."""
    c, s = math.cos(yaw), math.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return filled("box", np.array([x, y, z]) / 2) @ turn.T + [*at, z / 2]


def ring(radius, height):
    """Points of a thin upright tube."""
    turns = np.linspace(0, 2 * math.pi, 120, endpoint=False)
    levels = np.arange(0, height, 0.004)
    return np.array([(radius * math.cos(t), radius * math.sin(t), z) for t in turns for z in levels])


@pytest.mark.parametrize("kind", ["box", "sphere", "ellipsoid", "cylinder", "capsule"])
def test_points_fill_a_shape_to_its_bounds(kind):
    size = np.array([0.02, 0.03, 0.04])
    top = {"box": 0.04, "sphere": 0.02, "ellipsoid": 0.04, "cylinder": 0.03, "capsule": 0.05}[kind]
    points = filled(kind, size)
    assert points[:, 2].max() == pytest.approx(top, abs=0.004)
    assert points[:, 2].min() == pytest.approx(-top, abs=0.004)
    assert np.abs(points[:, 0]).max() == pytest.approx(0.02, abs=0.004)


def test_points_of_a_mesh_lie_on_its_triangles():
    points = on_triangles(np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0.0]]), np.array([[0, 1, 2]]))
    assert len(points) > 100
    assert np.all(points.sum(axis=1) < 0.1 + 0.004)
    assert not points[:, 2].any()


@pytest.mark.parametrize("yaw", [0.0, 0.5, 1.4])
def test_a_box_is_grasped_across_its_short_side(yaw):
    best = grasps(box(0.12, 0.04, 0.03, yaw=yaw), NOTHING, present_yaw=yaw + math.pi / 2)[0]
    across = abs(math.sin(best.yaw - yaw))
    assert across > 0.98
    assert best.span == pytest.approx(0.04, abs=0.005)
    assert np.allclose(best.position[:2], 0, atol=0.02)
    assert best.position[2] - Hand().below > 0.0, "finger tips stay above the table"


def test_what_is_wider_than_the_hand_is_grasped_at_its_rim():
    found = grasps(ring(0.055, 0.05), NOTHING, present_yaw=0.0)
    assert found[0].span < 0.03
    assert np.linalg.norm(found[0].position[:2]) == pytest.approx(0.053, abs=0.006)
    radial = abs(math.cos(found[0].yaw - math.atan2(found[0].position[1], found[0].position[0])))
    assert radial > 0.9


def test_a_neighbour_keeps_fingers_away():
    can = filled("cylinder", np.array([0.03, 0.04, 0])) + np.array([0, 0, 0.04])
    beside = box(0.02, 0.2, 0.1, at=(0.06, 0.0))
    assert abs(grasps(can, NOTHING, present_yaw=0.0)[0].yaw) < 0.1
    assert all(abs(math.sin(grasp.yaw)) > 0.8 for grasp in grasps(can, beside, present_yaw=0.0))


def test_what_stands_between_walls_has_no_grasp():
    assert grasps(box(0.05, 0.05, 0.06), ring(0.05, 0.2), present_yaw=0.0) == []


def test_a_hand_turns_at_most_a_quarter():
    assert nearest_turn(3.0, 0.0) == pytest.approx(3.0 - math.pi)
    assert nearest_turn(0.3, 3.0) == pytest.approx(0.3 + math.pi)
    assert np.allclose(pointing_down(0.7)[:, 2], [0, 0, -1])


def test_experts_act_in_the_simulator_alone():
    benchmark = LiberoBenchmark()
    with pytest.raises(ConfigurationError, match="simulator"):
        benchmark.expert(GymnasiumRobot("Pendulum-v1"), benchmark.episodes(1, 0)[0], 0)
