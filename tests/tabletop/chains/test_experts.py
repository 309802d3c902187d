"""The experts do every task, whole chains, and whatever comes to mind; and go on when something went wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forehand import Episode, Observation, Robot
from forehand.errors import ConfigurationError
from forehand.evaluation.evaluate import evaluate
from forehand.evaluation.expert_policy import Oracle
from forehand.evaluation.results import read_record
from forehand_tabletop.blocks.robot import TabletopRobot
from forehand_tabletop.chains.benchmark import PLAY_STEPS, TabletopChainsBenchmark
from forehand_tabletop.chains.play import PlayExpert
from forehand_tabletop.chains.robot import TabletopChainsRobot
from forehand_tabletop.chains.tasks import TASKS
from forehand_tabletop.chains.variants import variants

ENOUGH = 100  # control steps; most tasks take fewer than 20


def solve(robot: TabletopChainsRobot, benchmark: TabletopChainsBenchmark, episode: Episode, noise: float = 0.0) -> bool:
    """Whether the expert accomplishes the episode, with noise (m) on what is carried out."""
    rng = np.random.default_rng(episode.seed)
    robot.begin(episode)
    expert = benchmark.expert(robot, episode, 0)
    for _ in range(ENOUGH if not noise else episode.max_steps):
        if robot.success:
            return True
        action = expert.act()
        assert action is not None
        robot.act(action + np.array([*rng.normal(0, noise, 3), 0, 0, 0, 0], np.float32))
    return bool(robot.success)


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants())
def test_the_expert_solves_every_task(robot: TabletopChainsRobot, variant: str) -> None:
    benchmark = TabletopChainsBenchmark(variant)
    failed = [e.task for e in benchmark.episodes(2 * len(TASKS), 21) if not solve(robot, benchmark, e)]
    assert len(failed) <= 1, failed


def test_noise_does_not_stop_it(robot: TabletopChainsRobot) -> None:
    benchmark = TabletopChainsBenchmark("A")
    failed = [e.task for e in benchmark.episodes(len(TASKS), 22) if not solve(robot, benchmark, e, noise=0.006)]
    assert len(failed) <= 3, failed


def test_a_block_that_is_moved_away_is_followed(robot: TabletopChainsRobot) -> None:
    benchmark = TabletopChainsBenchmark("C")
    (episode,) = benchmark.episodes(1, 23, ["lift_blue_table"])
    robot.begin(episode)
    expert = benchmark.expert(robot, episode, 0)
    for _ in range(6):
        robot.act(expert.act())
    robot.simulation.place_block("blue", np.array([0.50, -0.30, 0.02]))
    for _ in range(ENOUGH):
        robot.act(expert.act())
        if robot.success:
            break
    assert robot.success


def test_play_does_one_thing_after_another(robot: TabletopChainsRobot) -> None:
    benchmark = TabletopChainsBenchmark("B")
    (episode,) = benchmark.episodes(1, 24, ["play"])
    done = []
    for _ in range(2):
        robot.begin(episode)
        expert = benchmark.expert(robot, episode, 7)
        assert isinstance(expert, PlayExpert)
        tasks = []
        for _ in range(PLAY_STEPS):
            assert robot.success is False
            robot.act(expert.act())
            tasks.append(expert.task)
        done.append(tasks)
        assert robot.success is True
    assert done[0] == done[1]
    assert len(set(done[0])) >= 4


@pytest.mark.slow
def test_the_oracle_completes_chains_and_any_of_them_can_be_driven_again(tmp_path: Path) -> None:
    benchmark = TabletopChainsBenchmark("D")

    def run(trials: list[tuple[Episode, ...]], robots: int, folder: Path) -> list[tuple[int, int, bool, int]]:
        bodies = [TabletopChainsRobot(image_size=16, variant="D") for _ in range(robots)]
        policies = [Oracle(benchmark, body) for body in bodies]
        evaluation = evaluate(policies, bodies, trials, folder=folder)
        assert evaluation.length == 5
        assert evaluation.average_length >= 4
        return [(e.index, e.position, e.success, e.steps) for e in evaluation.episodes]

    first = run(benchmark.trials(4, 31), 1, tmp_path / "alone")
    assert run(read_record(tmp_path / "alone").trials, 2, tmp_path / "two") == first
    assert "| average length | 4 |" in (tmp_path / "alone" / "table.md").read_text()


def test_the_expert_needs_the_simulator_itself() -> None:
    class Elsewhere(Robot):
        def reset(self, episode: Episode | None = None) -> Observation:
            raise NotImplementedError

        observe = hold = act = reset  # type: ignore[assignment]

    benchmark = TabletopChainsBenchmark("A")
    with pytest.raises(ConfigurationError, match="Elsewhere"):
        benchmark.expert(Elsewhere(), benchmark.episodes(1, 0)[0], 0)


def test_the_tasks_are_those_of_the_chains_robot_alone() -> None:
    benchmark = TabletopChainsBenchmark("A")
    benchmark.require(TabletopChainsRobot(16))
    with pytest.raises(ConfigurationError, match="TabletopRobot has none of them"):
        benchmark.require(TabletopRobot(16))
