"""The driver of CALVIN, on the stand-in."""

import numpy as np
import pytest

from forehand import Episode
from forehand.contracts.compatibility import differences
from forehand.control.converted_robot import converted
from forehand.errors import ConfigurationError
from forehand_calvin.benchmark import CalvinBenchmark
from forehand_calvin.checkout import commit, find_checkout
from forehand_calvin.initial_states import ROBOT, initial_state
from forehand_calvin.robot import CalvinRobot

START = {"led": 0, "lightbulb": 0, "slider": "right", "drawer": "closed", "grasped": 0}
START |= {"red_block": "table", "blue_block": "table", "pink_block": "slider_left"}
OPENING = np.array([0, 0.9, 0, 0, 0, 0, -0.1], np.float32)


@pytest.fixture
def connected(standin):
    robots = []

    def connect(**options):
        robots.append(CalvinRobot(str(standin), **options))
        robots[-1].connect()
        return robots[-1]

    yield connect
    for robot in robots:
        robot.close()


def episode(task, scene="D", continues=False, **start):
    return Episode(task, "do it", 5, 360, {"scene": scene, "hashed": True, **START, **start}, continues)


def test_a_chain_goes_on_in_the_same_world_and_each_task_is_judged_from_its_own_beginning(connected):
    robot = connected()
    assert robot.reset(episode("open_drawer")).success is False
    seen = [robot.step(OPENING) for _ in range(7)]
    assert [one.success for one in seen] == [False] * 6 + [True]  # 0.12 m
    last = robot.observe()
    again = robot.reset(episode("open_drawer", continues=True))
    assert (again.success, again.time) == (False, last.time)
    assert again.state.tolist() == last.state.tolist()
    assert [robot.step(OPENING).success for _ in range(7)] == [False] * 6 + [True]
    robot.reset(episode("turn_on_lightbulb", continues=True))
    assert [robot.step(np.array([0, 0, 1, 0, 0, 0, 1], np.float32)).success for _ in range(8)][-2:] == [True, True]


def test_numbers_are_the_simulator_s(connected):
    robot = connected()
    seen = robot.reset(episode("open_drawer"))
    assert seen.state.tolist() == np.float32([*ROBOT[:6], 1]).tolist()
    assert {name: picture.shape for name, picture in seen.images.items()} == {
        "static": (200, 200, 3),
        "wrist": (84, 84, 3),
    }
    assert seen.images["static"][0, 0, 0] == 255
    environment = robot.simulation.environment
    assert environment.scene_obs.tolist() == initial_state(START)[1].tolist()
    assert environment.use_egl
    sent = robot.act(np.array([0.5, 0, 0, 0, 0, 1, -0.2], np.float32))
    assert sent.tolist() == environment.actions[-1].tolist() == [0.5, 0, 0, 0, 0, 1, -1]
    assert robot.observe().state[6] == -1
    assert robot.observe().state[0] == pytest.approx(ROBOT[0] + 0.01)
    assert robot.observe().time == pytest.approx(1 / 30)
    assert robot.reset(episode("open_drawer")).state[6] == 1  # though the last command closed it


def test_the_state_may_be_all_of_it(connected):
    robot = connected(full_state=True)
    seen = robot.reset(episode("open_drawer"))
    assert robot.contract.state_size == len(seen.state) == 15
    assert seen.state[6] == pytest.approx(0.08)


def test_each_scene_replaces_the_one_before_and_has_its_own_order_of_blocks(connected):
    robot = connected(renderer="cpu")
    for scene in "DAC":
        robot.reset(episode("open_drawer", scene))
        assert robot.simulation.environment.scene == scene
        assert not robot.simulation.environment.use_egl
    assert robot.simulation.blocks("A") == ["pink_block", "blue_block", "red_block"]
    assert robot.simulation.environment.scene_obs[18 + 5] == initial_state(START)[1][18 + 5]


def test_released_weights_of_seer_fit_but_for_the_camera_s_name(connected):
    from forehand_seer.contracts import calvin

    fits = converted(connected(), ["camera.static:primary"])
    assert not differences(calvin(), fits.contract)


def test_what_is_missing_is_named(standin, tmp_path):
    with pytest.raises(ConfigurationError, match="forehand env make calvin"):
        find_checkout(None)
    with pytest.raises(ConfigurationError, match="is no checkout of calvin_env"):
        find_checkout(tmp_path)
    (tmp_path / "calvin_env").symlink_to(standin)
    assert find_checkout(tmp_path) == tmp_path / "calvin_env"
    assert commit(tmp_path) == "unknown"
    with pytest.raises(ConfigurationError, match="egl or cpu"):
        CalvinRobot(renderer="gpu")
    robot = CalvinRobot(str(standin))
    with pytest.raises(ConfigurationError, match="not connected"):
        robot.reset(episode("open_drawer"))
    with pytest.raises(ConfigurationError, match="episodes of benchmark=calvin"):
        robot.reset(None)


def test_trials_are_the_chains_and_single_tasks_begin_where_they_are_possible():
    benchmark = CalvinBenchmark()
    chain = benchmark.trials(2, 7)[1]
    assert chain == benchmark.trial(1, 7)
    assert [one.task for one in chain][:2] == ["turn_off_led", "push_into_drawer"]
    assert [one.continues for one in chain] == [False, True, True, True, True]
    assert {one.max_steps for one in chain} == {360}
    assert chain[0].instruction == "press the button to turn off the led light"
    singles = benchmark.episodes(40, 3)
    assert singles[:5] == benchmark.episodes(5, 3)
    assert "stack_block" not in {one.task for one in singles}
    assert all(one.options["drawer"] == "closed" for one in singles if one.task == "open_drawer")
    assert all(benchmark.counterfactual_instruction(one) != one.instruction for one in (*chain[:1], *singles))
    with pytest.raises(ConfigurationError, match="possible only after another task"):
        benchmark.trials(1, 0, ["stack_block"])
    with pytest.raises(ConfigurationError, match="There are 1000 chains"):
        benchmark.trials(1001, 0)
