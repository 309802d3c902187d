"""The driver of LIBERO, on the stand-in."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from forehand import Expert
from forehand.contracts.compatibility import differences, suggest_conversions
from forehand.control.converted_robot import converted
from forehand.data.demonstrations.demonstrate import Noise, demonstrate
from forehand.errors import ConfigurationError
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.contract import axis_angle
from forehand_libero.robot import LiberoRobot


@pytest.fixture
def connected(standin):
    robots = []

    def connect(**options):
        robots.append(LiberoRobot(**options))
        robots[-1].connect()
        return robots[-1]

    yield connect
    for robot in robots:
        robot.close()


def trial(number=0, protocol="seer"):
    benchmark = LiberoBenchmark("libero_10", protocol)
    return benchmark.trials(number + 1, 0)[number][0]


def actions(robot):
    return np.array(robot.simulation.environment.actions)


def test_seer_sees_the_scene_before_it_settles_under_actions_of_zero(connected):
    robot = connected(protocol="seer")
    seen = robot.reset(trial())
    assert actions(robot).tolist() == np.zeros((5, 7)).tolist()
    assert seen.state[6] == pytest.approx(0.04)  # the gripper as it was
    assert robot.step(np.zeros(7, np.float32)).state[6] == pytest.approx(0.02)


def test_openvla_sees_it_afterwards_with_the_gripper_open(connected):
    robot = connected(protocol="openvla")
    seen = robot.reset(trial(protocol="openvla"))
    assert actions(robot).tolist() == [[0.0] * 6 + [-1.0]] * 10
    assert seen.images["static"].shape == (256, 256, 3)


def test_initial_states_are_the_fixed_ones_and_the_rest_of_the_scene_is_always_the_same(connected):
    seen = {}
    for fresh in ("environment", "reset", "state"):
        robot = connected(fresh=fresh)
        for number in (0, 10, 0, 1):
            robot.reset(trial(number))
            last = [robot.step(np.full(7, 0.7, np.float32)) for _ in range(3)][-1]
            seen.setdefault(number, []).append((last.state.tolist(), last.images["static"].tolist()))
    assert all(all(entry == entries[0] for entry in entries) for entries in seen.values())
    assert len({str(entries[0][0]) for entries in seen.values()}) == 3


@pytest.mark.parametrize("fresh", ["reset", "state"])
def test_drawn_states_follow_from_the_seed_alone(connected, fresh):
    one, other = (e for e in LiberoBenchmark().episodes(11, 5)[::10])
    robot = connected(fresh=fresh)
    states = [robot.reset(episode).state.tolist() for episode in (one, other, one)]
    assert states[0] == states[2] != states[1]


@pytest.mark.parametrize(
    ("orientation", "top", "left"),
    [
        ("upright", "dark", "red"),
        ("flipped_vertically", "bright", "red"),
        ("flipped_horizontally", "dark", "black"),
        ("rotated_180", "bright", "black"),
    ],
)
def test_pictures_lie_as_the_contract_says(connected, orientation, top, left):
    robot = connected(orientation=orientation)
    picture = robot.reset(trial()).images["static"]
    assert robot.contract.camera("static").orientation == orientation
    assert (picture[0, 0, 1] < picture[-1, 0, 1]) == (top == "dark")
    assert (picture[0, 0, 0] > picture[0, -1, 0]) == (left == "red")


def test_a_policy_that_saw_other_pictures_is_refused_or_converted(connected):
    seers = LiberoRobot("seer").contract
    offered = LiberoRobot("openvla", image_size=128, rotation="euler_xyz_extrinsic")
    assert [d.where for d in differences(seers, offered.contract)] == [
        "camera 'static' orientation",
        "camera 'wrist' orientation",
    ]
    suggestion = suggest_conversions(seers, offered.contract)
    assert "camera.static:flipped_vertically,camera.wrist:flipped_vertically" in suggestion
    raw, turned = connected(protocol="seer"), connected(protocol="seer", orientation="flipped_horizontally")
    back = converted(turned, ["camera.static:flipped_vertically", "camera.wrist:flipped_vertically"])
    assert not differences(raw.contract, back.contract)
    for name, picture in raw.reset(trial()).images.items():
        assert np.array_equal(picture, back.reset(trial()).images[name])


def test_the_rotation_keeps_the_quaternion_s_sign(connected):
    seen = connected(protocol="lerobot").reset(trial(protocol="lerobot"))
    angle = 2 * np.arccos(-0.28)
    assert angle > np.pi
    assert seen.state[3:6] == pytest.approx([angle, 0, 0], abs=1e-5)
    assert axis_angle(np.array([0.0, 0.0, 0.0, 1.0])).tolist() == [0, 0, 0]
    assert connected().reset(trial()).state[3:6] == pytest.approx([angle - 2 * np.pi, 0, 0], abs=1e-5)


def test_success_is_the_task_s_goal(connected):
    robot = connected()
    seen = robot.reset(trial())
    target = robot.simulation.environment.env.target
    for _ in range(20):
        assert not seen.success
        towards = np.clip((target - seen.state[:3]) / 0.15, -1, 1)
        seen = robot.step(np.array([*towards, 0, 0, 0, -1], np.float32))
    assert not seen.success
    assert robot.step(np.array([0, 0, 0, 0, 0, 0, 1], np.float32)).success


@pytest.mark.parametrize("protocol", ["seer", "openvla"])
def test_a_rehearsed_episode_is_drawn_afterwards_as_it_would_have_been_at_once(connected, protocol):
    (episode,) = LiberoBenchmark("libero_10", protocol).episodes(1, 3)
    robot, command = connected(protocol=protocol), np.array([0.2, 0.3, 0.5, 0, 0, 0, -1], np.float32)
    at_once = [robot.reset(episode), *(robot.step(command) for _ in range(4))]
    with robot.rehearsal():
        black = [robot.reset(episode), *(robot.step(command) for _ in range(4))]
        before = robot.simulation.environment.env.drawn
        robot.step(command)
        assert robot.simulation.environment.env.drawn == before
    with robot.performance():
        later = [robot.reset(episode), *(robot.step(command) for _ in range(4))]
    assert len({seen.images["static"].tobytes() for seen in at_once}) > 2
    for one, two, three in zip(at_once, black, later, strict=True):
        assert not two.images["static"].any()
        assert np.array_equal(one.state, two.state)
        assert np.array_equal(one.state, three.state)
        assert one.time == three.time
        for name in one.images:
            assert np.array_equal(one.images[name], three.images[name])
    assert robot.reset(episode).images["static"].any(), "afterwards it draws at once"


def test_fast_pictures_are_drawn_with_one_sample_a_pixel(connected):
    robot = connected(render="fast")
    robot.reset(trial())
    assert 'offsamples="0"' in robot.simulation.environment.env.processors[0]


def test_what_is_missing_or_unknown_is_named(connected):
    with pytest.raises(ConfigurationError, match="benchmark=libero"):
        connected().reset(None)
    for wrong in ({"orientation": "sideways"}, {"rotation": "euler"}, {"fresh": "never"}, {"render": "ugly"}):
        with pytest.raises(ConfigurationError, match=str(next(iter(wrong.values())))):
            LiberoRobot(**wrong)


def test_without_the_simulator_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "libero", None)
    with pytest.raises(ConfigurationError, match="forehand env make libero"):
        LiberoRobot().connect()


class Reaching(Expert):
    """Brings the hand of the stand-in to its target, and closes."""

    def __init__(self, world):
        self._world = world

    def act(self):
        missing = self._world.target - self._world.eef
        closing = 1.0 if np.abs(missing).max() < 0.008 else -1.0
        return np.array([*np.clip(missing / 0.15, -1, 1), 0, 0, 0, closing], np.float32)


class ReachingBenchmark(LiberoBenchmark):
    def expert(self, robot, episode, seed):
        return Reaching(robot.simulation.environment.env)


class AtOnce(LiberoRobot):
    rehearsal = None


def test_a_searched_demonstration_is_the_one_that_is_drawn_at_once(standin):
    benchmark = ReachingBenchmark(max_steps=60)
    (episode,) = benchmark.episodes(1, 3)
    frames = []
    for kind in (LiberoRobot, AtOnce):
        robot, kept = kind(), []
        robot.connect()
        recorder = SimpleNamespace(add=lambda *frame, kept=kept: kept.append(frame))
        noise = Noise(std=0.3, share=0.5)
        assert demonstrate(robot, benchmark, episode, recorder, seed=1, noise=noise, hold_steps=3)
        frames.append(kept)
        robot.close()
    searched, at_once = frames
    assert len(searched) == len(at_once) > 5
    for (one, action, about), (other, its_action, its_about) in zip(searched, at_once, strict=True):
        assert np.array_equal(action, its_action)
        assert about == its_about
        assert np.array_equal(one.state, other.state)
        assert np.array_equal(one.images["static"], other.images["static"])
        assert one.images["static"].any()
