"""The driver of Meta-World, on the stand-in."""

import sys

import mujoco
import numpy as np
import pytest

from forehand.errors import ConfigurationError
from forehand_metaworld.benchmark import MetaworldBenchmark
from forehand_metaworld.robot import MetaworldRobot


@pytest.fixture
def robot(standin):
    robot = MetaworldRobot(image_size=48)
    robot.connect()
    yield robot
    robot.close()


def trial(number=0):
    return MetaworldBenchmark("reach-v3").trials(number + 1, 0)[number][0]


def test_observations_are_as_the_contract_says(robot):
    seen = robot.reset(trial())
    assert {name: picture.shape for name, picture in seen.images.items()} == {"static": (48, 48, 3), "wrist": (48, 48, 3)}
    assert seen.state.tolist() == pytest.approx([0, 0.6, 0.2, 1.0])
    assert not seen.success
    after = robot.step(np.array([1, 0, -1, 1], np.float32))
    assert after.state.tolist() == pytest.approx([0.01, 0.6, 0.19, 0.0])
    assert after.time == pytest.approx(1 / 80)
    assert seen.state[0] == 0, "an observation does not change afterwards"


def test_the_static_camera_which_hangs_upside_down_is_turned(robot):
    seen = robot.reset(trial())
    simulation = robot.simulation
    simulation._renderer.update_scene(simulation._env.data, camera="corner2")
    drawn = simulation._renderer.render()
    assert drawn.std() > 5
    assert np.array_equal(seen.images["static"], drawn[::-1, ::-1])


def test_goals_are_fixed_or_follow_from_the_seed(robot):
    fixed = [robot.reset(trial(number)) and robot.simulation.numbers[-3:].tolist() for number in (0, 3, 0)]
    assert fixed[0] == fixed[2] != fixed[1]
    one, other = MetaworldBenchmark("reach-v3").episodes(2, seed=5)
    drawn = [robot.reset(episode) and robot.simulation.numbers[-3:].tolist() for episode in (one, other, one)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert drawn[0] not in fixed


def test_another_task_gets_another_environment(robot):
    robot.reset(trial())
    before = robot.simulation._env
    robot.reset(trial(1))
    assert robot.simulation._env is before
    robot.reset(MetaworldBenchmark("mt10").trials(2, 0)[1][0])
    assert robot.simulation._env is not before
    assert before.closed


def test_fast_pictures_have_no_shadows(standin):
    robot = MetaworldRobot(image_size=32, render="fast")
    robot.connect()
    robot.reset(trial())
    assert robot.simulation._env.model.vis.quality.offsamples == 0
    assert not robot.simulation._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW]
    robot.close()


def test_what_is_missing_or_unknown_is_named(robot):
    with pytest.raises(ConfigurationError, match="benchmark=metaworld"):
        robot.reset(None)
    for wrong in ({"camera": "far"}, {"render": "ugly"}, {"image_size": 0}):
        with pytest.raises(ConfigurationError, match=str(next(iter(wrong.values())))):
            MetaworldRobot(**wrong)


def test_without_the_simulator_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(ConfigurationError, match="forehand env make metaworld"):
        MetaworldRobot().connect()
