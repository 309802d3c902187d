"""Depth, finger forces and positions of objects: in metres and newtons, and only where they are asked for."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from forehand import registry
from forehand.conformance import assert_robot_conforms
from forehand.errors import ConfigurationError
from forehand.showcase import for_rendering
from forehand_tabletop.blocks.blocks import BLOCK_SIZE
from forehand_tabletop.blocks.robot import TabletopRobot
from forehand_tabletop.blocks.scene import build_scene

ALL = ("depth_static", "depth_wrist", "finger_forces", "object_positions")
NOTHING = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


@pytest.fixture(scope="module")
def feeling() -> Iterator[TabletopRobot]:
    robot = TabletopRobot(64, ALL)
    robot.connect()
    yield robot
    robot.close()


@pytest.mark.parametrize("name", ["tabletop", "tabletop-chains"])
def test_it_conforms_with_its_sensors(name: str) -> None:
    assert_robot_conforms(partial(registry().create, "robot", name, image_size=32, sensors=ALL))


@pytest.mark.parametrize("name", ["tabletop", "tabletop-chains"])
def test_the_robot_that_renders_for_people_has_them_too(name: str) -> None:
    robot = for_rendering(registry().create("robot", name, image_size=32, sensors=ALL), 48)
    assert [sensor.name for sensor in robot.contract.sensors] == [*ALL]
    assert robot.contract.sensor("depth_static").shape == (48, 48)


def test_without_them_the_contract_and_every_pixel_are_as_before(feeling: TabletopRobot) -> None:
    plain = TabletopRobot(64)
    assert plain.contract.sensors == ()
    plain.connect()
    try:
        for robot in (plain, feeling):
            robot.reset()
        for _ in range(3):
            seen, also = (robot.step(NOTHING) for robot in (plain, feeling))
            assert not seen.sensors
            assert set(also.sensors) == set(ALL)
            np.testing.assert_array_equal(seen.state, also.state)
            for camera, image in seen.images.items():
                np.testing.assert_array_equal(image, also.images[camera])
    finally:
        plain.close()


def test_depth_is_the_distance_along_the_optical_axis(feeling: TabletopRobot) -> None:
    """The corners of the static camera's image see table or floor, whose distances follow from where the camera is."""
    feeling.reset()
    scene = build_scene()
    camera = scene.find("camera", "static")
    eye, axes = np.array(camera.pos), np.array(camera.xyaxes).reshape(2, 3)
    right, up = axes
    forward = -np.cross(right, up)
    depth = feeling.observe().sensors["depth_static"]
    half = np.tan(np.radians(camera.fovy) / 2)
    for row, column in ((60, 32), (62, 10), (50, 60)):  # towards the viewer, where nothing stands on the table
        x, y = (2 * (column + 0.5) / 64 - 1) * half, (1 - 2 * (row + 0.5) / 64) * half
        ray = forward + x * right + y * up  # one metre along the optical axis
        assert depth[row, column] / 1000 == pytest.approx(-eye[2] / ray[2], abs=0.004)


def test_a_block_is_nearer_to_the_camera_than_the_table_behind_it(feeling: TabletopRobot) -> None:
    feeling.reset()
    before = feeling.observe().sensors["depth_static"].astype(int)
    feeling.simulation.place_block("red", np.array([0.5, 0.0, 0.3]))
    feeling.simulation.step(feeling.simulation.joint_target, 0.04)
    nearer = before - feeling.observe().sensors["depth_static"]
    assert (nearer > 1000 * BLOCK_SIZE).sum() > 4


def test_fingers_feel_the_block_that_they_hold_and_its_weight(feeling: TabletopRobot) -> None:
    feeling.reset()
    np.testing.assert_array_equal(feeling.observe().sensors["finger_forces"], np.zeros(6))
    simulation = feeling.simulation
    for _ in range(10):
        feeling.act(np.array([0, 0, -0.04, 0, 0, 0, 1], np.float32))
    x, y, _ = simulation.tool_position
    for block, place in zip(("green", "blue", "red"), ((0.6, 0.25), (0.7, 0.25), (x, y)), strict=True):
        simulation.place_block(block, np.array([*place, BLOCK_SIZE / 2]))
    for lift in (0, 0, 0, 0, 0, 0, 0.03, 0.03, 0.03, 0, 0, 0, 0, 0):
        feeling.act(np.array([0, 0, lift, 0, 0, 0, -1], np.float32))
    left, right = feeling.observe().sensors["finger_forces"].reshape(2, 3)
    assert simulation.blocks()["red"].position[2] > BLOCK_SIZE
    assert min(np.linalg.norm(left), np.linalg.norm(right)) > 0.5
    assert left @ right < 0  # from both sides
    np.testing.assert_allclose(left + right, [0, 0, -0.05 * 9.81], atol=0.2)  # the block pulls the hand down


def test_positions_of_objects_are_where_the_blocks_are(feeling: TabletopRobot) -> None:
    feeling.reset()
    for number, block in enumerate(feeling.objects):
        feeling.simulation.place_block(block, np.array([0.4 + 0.1 * number, -0.1 * number, BLOCK_SIZE / 2]))
    positions = feeling.observe().sensors["object_positions"].reshape(3, 3)
    np.testing.assert_allclose(positions, [[0.4, 0, 0.02], [0.5, -0.1, 0.02], [0.6, -0.2, 0.02]], atol=1e-6)
    assert feeling.contract.sensor("object_positions").unit == "m"


def test_a_sensor_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"robot\.options\.sensors: there is no 'dept_static'.*depth_static"):
        TabletopRobot(32, ["dept_static"])
