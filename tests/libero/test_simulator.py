"""LIBERO itself, in the environment ``libero``: make test-simulators."""

import json
import subprocess

import numpy as np
import pytest

from forehand.control.chunking import RecedingHorizon
from forehand.environments import find
from forehand.running.rollout import Outcome, rollout
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.protocols import PROTOCOLS
from forehand_libero.suites import suite, suites
from forehand_plugins.reference import ZeroActionPolicy
from forehand_robots.hosted import HostedRobot

pytestmark = [pytest.mark.simulator, pytest.mark.timeout(1800)]

TASKS = """
import json, os
from libero.libero import benchmark
found = {}
for name in json.loads(input()):
    suite = benchmark.get_benchmark(name)(task_order_index=0)
    found[name] = [
        (suite.get_task(i).name, suite.get_task(i).language, len(suite.get_task_init_states(i)),
         os.path.exists(suite.get_task_bddl_file_path(i)))
        for i in range(suite.n_tasks)
    ]
print("\\n" + json.dumps(found))
"""
REHEARSED = """
import numpy as np
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.robot import LiberoRobot
robot, benchmark = LiberoRobot(image_size=32, fresh="reset"), LiberoBenchmark("libero_10")
robot.connect()
(episode,) = benchmark.episodes(1, 7, ["turn on the stove and put the moka pot on it"])

def drive():
    seen = [robot.reset(episode)]
    for step in range(10):
        if step == 4:  # the burner glows from now on
            robot.simulation.environment.sim.data.set_joint_qpos("flat_stove_1_button", 1.5)
        seen.append(robot.step(np.array([1, 0.5, -1, 0, 0, 0.5, 1], np.float32)))
    return seen

with robot.rehearsal():
    dark = drive()
with robot.performance():
    later = drive()
at_once = drive()
assert len({seen.images["static"].tobytes() for seen in later}) > 9
assert not any(seen.images["static"].any() for seen in dark)
for one, two, three in zip(at_once, dark, later, strict=True):
    assert np.array_equal(one.state, two.state) and np.array_equal(one.state, three.state)
    assert all(np.array_equal(one.images[name], three.images[name]) for name in one.images)
print("equal")
"""
EXPERTS = """
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.robot import LiberoRobot
robot = LiberoRobot(image_size=8, fresh="reset")
robot.connect()
for suite, task in (("libero_object", 1), ("libero_10", 2), ("libero_10", 3), ("libero_10", 4), ("libero_10", 5)):
    benchmark = LiberoBenchmark(suite)
    (episode,) = benchmark.episodes(1, 7, [benchmark.tasks[task]])
    with robot.rehearsal():
        seen, expert, steps = robot.reset(episode), benchmark.expert(robot, episode, episode.seed), 0
        while not seen.success and steps < episode.max_steps and (action := expert.act()) is not None:
            seen, steps = robot.step(action), steps + 1
    print("result", suite, task, int(seen.success))
"""
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (8, 7)).astype(np.float32)


@pytest.fixture(scope="module")
def hosted():
    """A connected robot with these options: the one before, if it has the same, which is closed otherwise."""
    kept = {}

    def connect(**options):
        if options not in [made for made, _ in kept.values()]:
            for _, robot in kept.values():
                robot.close()
            kept["robot"] = options, HostedRobot("libero", options, "libero", timeout=600)
            kept["robot"][1].connect()
        return kept["robot"][1]

    yield connect
    for _, robot in kept.values():
        robot.close()


def drive(robot, number=0, protocol="seer"):
    """The observations of a fixed sequence of actions."""
    (episode,) = LiberoBenchmark("libero_10", protocol).trials(number + 1, 0, None)[number]
    seen = [robot.reset(episode)]
    for action in ACTIONS:
        seen.append(robot.step(action))
    return seen


def test_the_tables_are_those_of_the_simulator():
    python = find("libero").executable
    done = subprocess.run([python, "-c", TASKS], input=json.dumps(suites()) + "\n", capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for name in suites():
        ours = suite(name)
        assert [(task.name, task.states, True) for task in ours] == [(n, s, there) for n, _, s, there in found[name]]
        if not name.endswith(("_lan", "_task")) and name != "libero_study_table":
            assert [task.instruction for task in ours] == [sentence for _, sentence, _, _ in found[name]]


def test_an_episode_is_the_same_however_it_begins(hosted):
    first = drive(hosted(fresh="environment"))
    for fresh in ("reset", "state"):
        drive(hosted(fresh=fresh), 10)
        for one, other in zip(first, drive(hosted(fresh=fresh)), strict=True):
            assert np.array_equal(one.state, other.state)
            assert all(np.array_equal(one.images[name], other.images[name]) for name in one.images)


def test_the_robot_s_base_is_at_the_bottom_of_the_picture_as_it_is_drawn(hosted):
    drawn = drive(hosted(fresh="environment"))[0].images["static"].astype(int)
    robot = hosted(protocol="seer", orientation="upright")
    upright = drive(robot)[0].images["static"].astype(int)
    assert robot.contract.camera("static").orientation == "upright"
    assert np.array_equal(upright, drawn[::-1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_action_moves_the_hand_as_the_contract_says(hosted, protocol):
    robot = hosted(protocol=protocol, image_size=64, fresh="reset")
    (episode,) = LiberoBenchmark("libero_10", protocol).trials(1, 0)[0]
    before = robot.reset(episode).state
    for _ in range(10):
        after = robot.step(np.array([0, 0, 0.5, 0, 0, 0, 1], np.float32)).state
    assert after[2] - before[2] > 0.03  # upwards
    assert np.abs(after[:2] - before[:2]).max() < 0.02
    assert abs(after[6]) < abs(before[6]) - 0.01  # and the gripper closes


def test_one_episode_by_seer_s_protocol(hosted):
    (episode,) = LiberoBenchmark("libero_10", max_steps=20).trials(1, 0)[0]
    robot = hosted(fresh="environment")
    assert rollout(robot, ZeroActionPolicy(robot.contract), episode, RecedingHorizon()) == Outcome(False, 20)


def test_experts_solve_drawn_states():
    done = subprocess.run([find("libero").executable, "-c", EXPERTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("result")]
    assert len(outcomes) == 5
    assert outcomes.count("1") >= 4


def test_rehearsed_pictures_are_those_of_the_simulator():
    done = subprocess.run([find("libero").executable, "-c", REHEARSED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "equal"
