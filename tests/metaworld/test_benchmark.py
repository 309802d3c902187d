"""Episodes of Meta-World, its suites, and its experts on the stand-in."""

import json

import numpy as np
import pytest

from forehand.control.chunking import RecedingHorizon
from forehand.errors import ConfigurationError, UnknownName
from forehand.evaluation.expert_policy import Oracle
from forehand.running.rollout import rollout
from forehand_metaworld.benchmark import MetaworldBenchmark
from forehand_metaworld.robot import MetaworldRobot
from forehand_metaworld.tasks import INSTRUCTIONS, SUITES


def test_suites_have_the_published_sizes():
    assert {name: len(tasks) for name, tasks in SUITES.items()} == {
        "mt10": 10,
        "mt50": 50,
        "easy": 28,
        "medium": 11,
        "hard": 6,
        "very_hard": 5,
    }
    assert all(set(tasks) <= set(INSTRUCTIONS) for tasks in SUITES.values())
    assert len(set(INSTRUCTIONS.values())) == 50, "every task has an instruction of its own"


def test_trials_are_the_fixed_goals_of_each_task_and_episodes_are_not():
    benchmark = MetaworldBenchmark("mt10", goals=3)
    assert benchmark.evaluation_options() == {"episodes": 30}
    trials = [episode for (episode,) in benchmark.trials(30, seed=0)]
    assert [t.options["goal"] for t in trials] == [goal for goal in range(3) for _ in range(10)]
    assert [t.task for t in trials[:10]] == list(SUITES["mt10"])
    assert all(e.options["goal"] == -1 for e in benchmark.episodes(5, seed=0))
    assert benchmark.episodes(3, 1) == benchmark.episodes(7, 1)[:3]
    assert {e.task for e in benchmark.episodes(4, 0, ["push", "reach-v3"])} == {"push-v3", "reach-v3"}


def test_what_there_is_not_is_named():
    with pytest.raises(UnknownName, match="mt10"):
        MetaworldBenchmark("mt11")
    with pytest.raises(UnknownName, match="pick-place-v3"):
        MetaworldBenchmark().episodes(1, 0, ["pick-plaice"])
    with pytest.raises(ConfigurationError, match="1 to 50"):
        MetaworldBenchmark(goals=51)
    with pytest.raises(ConfigurationError, match="30 at most"):
        MetaworldBenchmark(goals=3).trials(31, 0)
    with pytest.raises(ConfigurationError, match="after 500 steps"):
        MetaworldBenchmark(max_steps=501)


def test_another_instruction_is_another_task_s():
    for suite in ("mt10", "reach-v3"):
        benchmark = MetaworldBenchmark(suite)
        episode = benchmark.episodes(1, 0)[0]
        other = benchmark.counterfactual_instruction(episode)
        assert other != episode.instruction
        assert other in INSTRUCTIONS.values()


def test_its_expert_solves_a_task_within_the_range_of_actions(standin):
    benchmark, robot = MetaworldBenchmark("reach-v3", max_steps=100), MetaworldRobot(16)
    robot.connect()
    steps = []
    (episode,) = benchmark.episodes(1, 3)
    outcome = rollout(robot, Oracle(benchmark, robot), episode, RecedingHorizon(), on_step=steps.append)
    assert outcome.success
    actions = np.array([step.action for step in steps if step.action is not None])
    assert np.abs(actions).max() <= 1
    robot.close()


@pytest.mark.slow
def test_the_command_judges_it_and_names_departures(in_process, standin, tmp_path):
    plugins = {"FOREHAND_PLUGINS": "metaworld,stock,robots", "PYTHONPATH": str(standin)}
    options = ("robot.environment=null", "policy.name=zero_action", "num_videos=0", "workers=1", "output=o")
    judged = ("render=fast", "benchmark.options.max_steps=2", "benchmark.options.goals=2", "robot.options.image_size=16")
    done = in_process("eval", "benchmark=metaworld", "suite=hard", *options, *judged, **plugins)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "o/results.json").read_text())
    assert len(results["plan"]) == 12
    assert "Meta-World hard: 2 of 50 fixed goals a task, 2 steps" in done.stdout
    assert "not as the protocol: render=fast, where it has standard" in done.stdout
