"""The benchmark's episodes, and the experts who solve them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from forehand import Benchmark, Episode, Expert, Observation, Robot, registry
from forehand.errors import ConfigurationError, UnknownName
from forehand_tabletop.blocks.benchmark import TabletopBenchmark
from forehand_tabletop.blocks.robot import TabletopRobot

TASKS = ("push", "lift", "stack")


@pytest.fixture
def benchmark() -> TabletopBenchmark:
    return TabletopBenchmark()


def solve(robot: TabletopRobot, expert: Expert, episode: Episode, noise: float = 0.0) -> bool:
    """Whether the episode is accomplished in time, with bursts of noise (m, standard deviation) on what is executed."""
    rng, left = np.random.default_rng(episode.seed), 0
    for _ in range(episode.max_steps):
        action = expert.act()
        assert action is not None
        if left == 0 and rng.random() < 0.1:
            left = 5
        if left and noise:
            left -= 1
            action = action + np.array([*rng.normal(0, noise, 3), 0, 0, 0, 0], np.float32)
        robot.act(action)
        if robot.success:
            return True
    return False


def test_it_is_registered() -> None:
    created = registry().create("benchmark", "tabletop")
    assert isinstance(created, Benchmark)
    assert tuple(created.tasks) == TASKS


def test_episodes_are_spread_evenly(benchmark: TabletopBenchmark) -> None:
    episodes = benchmark.episodes(36, seed=0)
    assert Counter(e.task for e in episodes) == dict.fromkeys(TASKS, 12)
    for task in TASKS:
        assert set(Counter(e.options["block"] for e in episodes if e.task == task).values()) == {4}
    assert len({(e.options["block"], e.options["onto"]) for e in episodes if e.task == "stack"}) == 6
    assert len({e.seed for e in episodes}) == 36


def test_the_same_arguments_give_the_same_episodes(benchmark: TabletopBenchmark) -> None:
    assert benchmark.episodes(12, 3) == benchmark.episodes(12, 3)
    assert benchmark.episodes(12, 3)[:5] == benchmark.episodes(5, 3)
    assert benchmark.episodes(12, 3) != benchmark.episodes(12, 4)


def test_tasks_can_be_chosen_and_misspellings_are_answered(benchmark: TabletopBenchmark) -> None:
    assert {e.task for e in benchmark.episodes(4, 0, ["lift"])} == {"lift"}
    with pytest.raises(UnknownName, match="Did you mean 'stack'"):
        benchmark.episodes(4, 0, ["stak"])
    with pytest.raises(ConfigurationError):
        benchmark.episodes(4, 0, [])


def test_another_instruction_names_another_block(benchmark: TabletopBenchmark) -> None:
    for episode in benchmark.episodes(36, 1):
        other = benchmark.other_episode(episode)
        assert (other.task, other.seed) == (episode.task, episode.seed)
        assert other.options["block"] != episode.options["block"]
        assert (
            benchmark.counterfactual_instruction(episode)
            == other.instruction
            == benchmark.counterfactual_instruction(episode)
        )


def test_the_expert_needs_the_simulator_itself(benchmark: TabletopBenchmark) -> None:
    class Elsewhere(Robot):
        def reset(self, episode: Episode | None = None) -> Observation:
            raise NotImplementedError

        observe = hold = act = reset  # type: ignore[assignment]

    with pytest.raises(ConfigurationError, match="Elsewhere"):
        benchmark.expert(Elsewhere(), benchmark.episodes(1, 0)[0], 0)


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_solves_each_task(robot: TabletopRobot, benchmark: TabletopBenchmark, task: str) -> None:
    for episode in benchmark.episodes(6, 11, [task]):
        assert robot.reset(episode).success is False
        expert = benchmark.expert(robot, episode, 0)
        assert solve(robot, expert, episode), episode
        for _ in range(8):  # and holds what it has reached
            robot.act(expert.act())
        assert robot.observe().success is True, episode


@pytest.mark.parametrize("task", TASKS)
def test_following_another_instruction_does_not_count(
    robot: TabletopRobot, benchmark: TabletopBenchmark, task: str
) -> None:
    for episode in benchmark.episodes(3, 12, [task]):
        other = benchmark.other_episode(episode)
        robot.reset(other)
        expert = benchmark.expert(robot, other, 0)
        actions = []
        while not robot.success:
            actions.append(robot.act(expert.act()))
            assert len(actions) < other.max_steps
        robot.reset(episode)  # the same scene, now judged by its own sentence
        for action in actions:
            robot.act(action)
            assert robot.observe().success is False


def test_the_expert_goes_on_after_a_push_aside(robot: TabletopRobot, benchmark: TabletopBenchmark) -> None:
    episode = benchmark.episodes(1, 13, ["lift"])[0]
    robot.reset(episode)
    expert = benchmark.expert(robot, episode, 0)
    for _ in range(10):
        robot.act(expert.act())
    for _ in range(3):
        robot.act(np.array([-0.03, 0.03, 0.03, 0, 0, 0.1, 1], np.float32))
    robot.simulation.place_block(str(episode.options["block"]), np.array([0.40, 0.20, 0.02]))
    assert solve(robot, expert, episode)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("task", TASKS)
def test_the_expert_hardly_ever_fails(
    robot: TabletopRobot, benchmark: TabletopBenchmark, task: str, noise: float
) -> None:
    solved = 0
    for episode in benchmark.episodes(60, 14, [task]):
        robot.reset(episode)
        solved += solve(robot, benchmark.expert(robot, episode, 0), episode, noise)
    assert solved >= (57 if noise == 0 else 54)
