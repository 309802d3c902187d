"""The robot as its users see it: contract, motion, limits, seeded scenes, errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from forehand import Contract, Episode, Robot, registry
from forehand.errors import ConfigurationError
from forehand.robot import Undoes
from forehand_tabletop.arm import panda
from forehand_tabletop.blocks.blocks import APART, BLOCKS, sample_blocks
from forehand_tabletop.blocks.robot import InvalidAction, NotConnected, TabletopRobot

NOTHING = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


def action(x: float = 0, y: float = 0, z: float = 0, turn: tuple[float, ...] = (0, 0, 0), gripper: float = 1):
    return np.array([x, y, z, *turn, gripper], np.float32)


def episode(seed: int = 5) -> Episode:
    return Episode("lift", "lift the red block", seed, 60, {"block": "red"})


def test_it_is_registered_and_its_contract_travels() -> None:
    robot = registry().create("robot", "tabletop", image_size=64)
    assert isinstance(robot, Robot)
    assert Contract.from_json(robot.contract.to_json()) == robot.contract
    assert (robot.contract.state_size, robot.contract.action_size, robot.contract.rate) == (8, 7, 15)
    assert [(c.name, c.role, c.height, c.width) for c in robot.contract.cameras] == [
        ("static", "static", 64, 64),
        ("wrist", "wrist", 64, 64),
    ]


def test_an_observation_is_what_the_contract_says(robot: TabletopRobot) -> None:
    seen = robot.reset()
    assert seen.state.shape == (8,)
    assert seen.state.dtype == np.float32
    assert seen.success is None  # no episode, nobody to ask
    for camera in robot.contract.cameras:
        assert seen.images[camera.name].shape == (camera.height, camera.width, 3)
        assert seen.images[camera.name].dtype == np.uint8
    np.testing.assert_allclose(seen.state[3:6], 0, atol=1e-2)  # hand straight down
    np.testing.assert_allclose(seen.state[6:], panda.FINGER_TRAVEL, atol=1e-3)  # fingers apart


def test_earlier_images_stay_as_they_were(robot: TabletopRobot) -> None:
    before = robot.reset().images["wrist"]
    copy = before.copy()
    for _ in range(4):
        robot.act(action(z=-0.03))
    after = robot.observe().images["wrist"]
    np.testing.assert_array_equal(before, copy)
    assert np.abs(after.astype(int) - before).mean() > 1


def test_time_passes_at_the_control_rate(robot: TabletopRobot) -> None:
    robot.reset()
    for _ in range(10):
        robot.act(NOTHING)
    robot.hold()
    assert robot.observe().time == pytest.approx(11 / 15)


@pytest.mark.parametrize("seed", range(3))
def test_the_hand_follows_its_target_within_millimetres(robot: TabletopRobot, seed: int) -> None:
    robot.reset()
    rng = np.random.default_rng(seed)
    for _ in range(8):
        delta = rng.uniform(-0.02, 0.02, size=3)
        for _ in range(5):
            robot.act(action(*delta))
            assert np.linalg.norm(robot.target[0] - robot.simulation.tool_position) < 0.015
        robot.hold()
        robot.hold()
        assert np.linalg.norm(robot.target[0] - robot.simulation.tool_position) < 0.003
        assert np.abs(robot.observe().state[3:6]).max() < 0.02


def test_relative_actions_add_up_on_the_target(robot: TabletopRobot) -> None:
    robot.reset()
    start = robot.target[0]
    commanded = sum(robot.act(action(0.02, -0.01, 0.01)) for _ in range(5))
    np.testing.assert_allclose(robot.target[0], start + commanded[:3], atol=1e-6)
    np.testing.assert_allclose(commanded[:3], [0.10, -0.05, 0.05], atol=1e-6)


def test_rotation_follows_and_its_angles_stay_continuous(robot: TabletopRobot) -> None:
    robot.reset()
    angles = []
    for axis in range(3):
        for sign in (1, -1, -1, 1):
            for _ in range(4):
                turn = np.zeros(3)
                turn[axis] = sign * 0.08
                robot.act(action(turn=tuple(turn)))
                angles.append(robot.observe().state[3:6])
    assert np.abs(np.diff(angles, axis=0)).max() < 0.2  # no jump from +pi to -pi
    assert np.abs(angles).max() > 0.25
    robot.hold()
    robot.hold()
    np.testing.assert_allclose(robot.observe().state[3:6], 0, atol=0.02)


def test_the_gripper_opens_and_closes(robot: TabletopRobot) -> None:
    robot.reset()
    widths = {}
    for command in (-1.0, 0.0, 1.0):
        for _ in range(8):
            robot.act(action(gripper=command))
        widths[command] = robot.observe().state[6:]
    np.testing.assert_allclose(widths[-1.0], 0.0, atol=1e-3)
    np.testing.assert_allclose(widths[0.0], panda.FINGER_TRAVEL / 2, atol=1e-3)
    np.testing.assert_allclose(widths[1.0], panda.FINGER_TRAVEL, atol=1e-3)


def test_what_is_out_of_range_is_clipped_and_said(robot: TabletopRobot) -> None:
    robot.reset()
    commanded = robot.act(action(x=0.5, turn=(0, 0, 2), gripper=9))
    np.testing.assert_allclose(commanded, [0.04, 0, 0, 0, 0, 0.15, 1], atol=1e-6)
    assert commanded.dtype == np.float32


def test_the_target_stays_above_the_table(robot: TabletopRobot) -> None:
    robot.reset()
    commanded = [robot.act(action(z=-0.04))[2] for _ in range(12)]
    assert commanded[-1] == pytest.approx(0, abs=1e-6)
    robot.hold()
    assert robot.target[0][2] == pytest.approx(0.012)
    assert robot.simulation.tool_position[2] == pytest.approx(0.012, abs=0.003)


def test_the_target_cannot_run_away_from_the_arm(robot: TabletopRobot) -> None:
    robot.reset()
    for _ in range(40):  # to the edge of what it can reach, and on
        robot.act(action(x=0.04, y=0.04, z=0.04))
        assert np.isfinite(robot.observe().state).all()
    assert np.linalg.norm(robot.target[0] - robot.simulation.tool_position) < 0.085
    for _ in range(12):
        robot.act(action(x=-0.03, y=-0.03, z=-0.02))
    robot.hold()
    assert np.linalg.norm(robot.target[0] - robot.simulation.tool_position) < 0.01  # and it comes back


@pytest.mark.parametrize(
    "wrong",
    [np.full(7, np.nan), np.array([np.inf, 0, 0, 0, 0, 0, 1]), np.zeros(6), np.zeros((1, 7)), [[1], [2, 3]], "up", None],
    ids=["nan", "infinite", "short", "nested", "ragged", "word", "none"],
)
def test_a_senseless_action_moves_nothing(robot: TabletopRobot, wrong: object) -> None:
    robot.reset()
    before = robot.simulation.joints, robot.simulation.time
    with pytest.raises(InvalidAction, match="7 finite numbers"):
        robot.act(wrong)  # type: ignore[arg-type]
    np.testing.assert_array_equal(robot.simulation.joints, before[0])
    assert robot.simulation.time == before[1]


def test_the_seed_determines_the_scene(robot: TabletopRobot) -> None:
    def scene(seed: int) -> np.ndarray:
        state = robot.reset(episode(seed)).state
        return np.concatenate([state, *(block.position for block in robot.simulation.blocks().values())])

    first, other, again = scene(1), scene(2), scene(1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other)[:3].max() > 1e-3  # the arm's start
    assert np.abs(first - other)[8:].max() > 1e-2  # the blocks


def test_the_same_actions_lead_to_the_same_end(robot: TabletopRobot) -> None:
    ends = []
    for _ in range(2):
        robot.reset(episode(3))
        for step in range(15):
            robot.act(action(0.02, 0.01 * np.sin(step), -0.02, gripper=-1))
        ends.append(robot.observe().state)
    np.testing.assert_array_equal(*ends)


def test_scenes_leave_every_block_room(robot: TabletopRobot) -> None:
    for seed in range(200):
        poses = sample_blocks(np.random.default_rng(seed))
        centres = np.array([poses[name][:2] for name in BLOCKS])
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(centres[i] - centres[j]) >= APART
    for seed in range(5):  # and physics leaves them where they were put
        robot.reset(episode(seed))
        start = robot.simulation.blocks()
        for _ in range(15):
            robot.hold()
        for name, block in robot.simulation.blocks().items():
            assert np.linalg.norm(block.position - start[name].position) < 1e-3


def test_an_unknown_task_is_refused_by_name(robot: TabletopRobot) -> None:
    with pytest.raises(ConfigurationError, match="juggle"):
        robot.reset(Episode("juggle", "juggle the blocks", 0, 10, {"block": "red"}))
    with pytest.raises(ConfigurationError, match="purple"):
        robot.reset(Episode("lift", "lift the purple block", 0, 10, {"block": "purple"}))


def test_before_connecting_and_after_closing_it_says_so() -> None:
    robot = TabletopRobot(image_size=32)
    with pytest.raises(NotConnected, match="connect"):
        robot.observe()
    robot.connect()
    robot.connect()
    robot.act(NOTHING)
    robot.close()
    robot.close()
    with pytest.raises(NotConnected, match="connect"):
        robot.act(NOTHING)
    robot.connect()
    assert robot.observe().images["wrist"].any()
    robot.close()


def test_it_may_be_served_by_another_thread_than_the_one_that_connected_it(robot: TabletopRobot) -> None:
    seen = []

    def serve() -> None:
        robot.reset()
        robot.act(NOTHING)
        seen.append(robot.observe())

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(robot.observe().state, seen[0].state)
    difference = robot.observe().images["static"].astype(int) - seen[0].images["static"]
    assert np.abs(difference).mean() < 1


def test_what_was_tried_has_not_happened(robot: TabletopRobot) -> None:
    assert isinstance(robot, Undoes)
    moves = np.random.default_rng(0).uniform(-0.02, 0.02, (8, 7)).astype(np.float32)

    def states(tries: bool) -> list[np.ndarray]:
        robot.reset(episode())
        found = []
        for move in moves:
            if tries:
                with robot.undone():
                    for other in moves[::-1]:
                        robot.act(other)
            found.append(robot.step(move).state)
        return found

    np.testing.assert_array_equal(states(tries=True), states(tries=False))
