"""Meta-World itself, in the environment ``metaworld``: make test-simulators."""

import subprocess

import numpy as np
import pytest

from forehand.environments import find
from forehand_metaworld.benchmark import MetaworldBenchmark
from forehand_metaworld.tasks import INSTRUCTIONS, SUITES
from forehand_robots.hosted import HostedRobot

pytestmark = [pytest.mark.simulator, pytest.mark.timeout(1800)]

TABLES = """
import metaworld
from metaworld.policies import ENV_POLICY_MAP
for tables in (metaworld.ALL_V3_ENVIRONMENTS, ENV_POLICY_MAP, metaworld.MT10(seed=0).train_classes):
    print(sorted(tables))
"""
EXPERTS = """
from forehand.control.chunking import RecedingHorizon
from forehand.evaluation.expert_policy import Oracle
from forehand.running.rollout import rollout
from forehand_metaworld.benchmark import MetaworldBenchmark
from forehand_metaworld.robot import MetaworldRobot
benchmark, robot = MetaworldBenchmark("mt50"), MetaworldRobot(8, render="fast")
robot.connect()
for episode in benchmark.episodes(50, 0):
    outcome = rollout(robot, Oracle(benchmark, robot), episode, RecedingHorizon())
    print(episode.task, int(outcome.success), outcome.steps)
"""
PICTURES = """
import numpy as np, metaworld
from forehand_metaworld.simulation import NEAR, MetaworldSimulation
ours = MetaworldSimulation(64)
ours.begin("door-open-v3", goal=0, seed=0)
tasks = metaworld.MT1("door-open-v3", seed=42)
env = tasks.train_classes["door-open-v3"](render_mode="rgb_array", camera_name="corner2", width=64, height=64)
env.set_task(tasks.train_tasks[0])
env.model.camera("corner2").pos[:] = NEAR
env.reset(seed=0)
print(np.abs(env.render()[::-1, ::-1].astype(int) - ours.readings()["static"]).max())
"""


def inside(program):
    """What a program prints in the environment."""
    done = subprocess.run([find("metaworld").executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_tables_are_those_of_the_simulator():
    tasks, experts, mt10 = map(eval, inside(TABLES))
    assert tasks == sorted(INSTRUCTIONS)
    assert set(experts) >= set(tasks)
    assert mt10 == sorted(SUITES["mt10"])


def test_pictures_are_those_that_the_simulator_draws():
    assert inside(PICTURES) == ["0"]


def test_experts_solve_nearly_every_task():
    outcomes = dict(line.rsplit(" ", 2)[:2] for line in inside(EXPERTS))
    assert len(outcomes) == 50
    assert sum(map(int, outcomes.values())) >= 46


def test_an_episode_through_a_host_follows_from_its_seed():
    robot = HostedRobot("metaworld", {"image_size": 32}, "metaworld", timeout=300)
    robot.connect()
    seen = []
    for episode in (*MetaworldBenchmark("push-v3").episodes(2, 4), MetaworldBenchmark("push-v3").episodes(1, 4)[0]):
        first = robot.reset(episode)
        last = [robot.step(np.array([0.5, -0.5, 0.2, 1], np.float32)) for _ in range(5)][-1]
        seen.append((first.images["static"], last.state, last.images["wrist"]))
    assert all(np.array_equal(a, b) for a, b in zip(seen[0], seen[2], strict=True))
    assert not np.array_equal(seen[0][0], seen[1][0])
    robot.close()
