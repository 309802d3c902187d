"""Experts whose actions do not follow from what is seen: styles of approach, vague sentences, tasks in either order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from forehand.errors import ConfigurationError
from forehand_tabletop.chains.benchmark import TabletopChainsBenchmark
from forehand_tabletop.chains.dimensions import BLOCKS
from forehand_tabletop.chains.experts import ChainExpert
from forehand_tabletop.chains.pairs import FIRST, PAIRED, SECOND
from forehand_tabletop.chains.robot import TabletopChainsRobot
from forehand_tabletop.chains.sentences import alternatives, sentences
from forehand_tabletop.chains.tasks import TASKS

from .test_experts import solve

STYLES = ("left", "right")


def side(robot: TabletopChainsRobot, benchmark: TabletopChainsBenchmark, episode) -> float:
    """How far (m) the hand was to the left of its straight way to where it is after some steps, at most."""
    robot.begin(episode)
    expert, way = benchmark.expert(robot, episode, 0), [robot.simulation.tool_position[:2].copy()]
    for _ in range(9):
        robot.act(expert.act())
        way.append(robot.simulation.tool_position[:2].copy())
    along = (way[-1] - way[0]) / np.linalg.norm(way[-1] - way[0])
    aside = [float(along[0] * (p - way[0])[1] - along[1] * (p - way[0])[0]) for p in way]
    return max(aside, key=abs)


def test_both_styles_appear_and_the_first_frame_does_not_tell_them_apart(robot: TabletopChainsRobot) -> None:
    either, direct = TabletopChainsBenchmark("A", styles=STYLES), TabletopChainsBenchmark("A")
    episodes = either.episodes(60, 5)
    assert min(Counter(e.options["style"] for e in episodes)[style] for style in STYLES) > 20
    assert episodes == either.episodes(60, 5)
    plain = direct.episodes(60, 5)
    assert [(e.task, e.instruction, e.seed) for e in episodes] == [(e.task, e.instruction, e.seed) for e in plain]
    first, same = robot.reset(episodes[0]), robot.reset(plain[0])
    assert np.array_equal(first.state, same.state)
    assert all(np.array_equal(first.images[name], same.images[name]) for name in first.images)


def test_the_hand_goes_to_the_side_of_its_style(robot: TabletopChainsRobot) -> None:
    sides = {}
    for style in STYLES:
        benchmark = TabletopChainsBenchmark("A", styles=[style])
        (episode,) = benchmark.episodes(1, 3, ["open_drawer"])
        sides[style] = side(robot, benchmark, episode)
    assert sides["left"] > 0.02
    assert sides["right"] < -0.02


def test_every_task_is_solved_in_both_styles(robot: TabletopChainsRobot) -> None:
    benchmark = TabletopChainsBenchmark("B", styles=STYLES)
    failed = [e.task for e in benchmark.episodes(2 * len(TASKS), 24) if not solve(robot, benchmark, e)]
    assert len(failed) <= 1, failed


def test_a_vague_sentence_is_fulfilled_with_any_block(robot: TabletopChainsRobot) -> None:
    benchmark = TabletopChainsBenchmark("A", vague_sentences=True)
    episodes = benchmark.episodes(9, 3, ["lift_red_table"])
    episode, other = next((e, b) for e in episodes for b in BLOCKS if b != "red" and e.options[b] == "table")
    assert "a block" in episode.instruction
    assert "red" not in episode.instruction
    assert solve(robot, benchmark, episode)
    robot.begin(episode)
    expert = ChainExpert(robot, f"lift_{other}_table", robot.start)
    for _ in range(30):
        robot.act(expert.act())
    assert robot.success
    assert alternatives("open_drawer") == ("open_drawer",)
    assert sentences("lift_red_table", "test", vague=True) == sentences("lift_blue_table", "test", vague=True)


def test_two_tasks_are_done_in_either_order(robot: TabletopChainsRobot) -> None:
    benchmark = TabletopChainsBenchmark("C", either_order=True, preceding_tasks=2)
    episodes = benchmark.episodes(2 * len(PAIRED), 11)
    assert [e.task for e in episodes] == [*PAIRED, *PAIRED]
    first = Counter(e.options[FIRST] == e.task for e in episodes)
    assert min(first[True], first[False]) > len(PAIRED) / 2
    named = Counter(e.instruction.split(" and ")[0] in sentences(e.task, "test") for e in episodes)
    assert min(named[True], named[False]) > len(PAIRED) / 2
    failed = [(e.task, e.options[SECOND]) for e in episodes if not solve(robot, benchmark, e)]
    assert len(failed) <= 4, failed

    episode = episodes[0]
    robot.begin(episode)
    alone = ChainExpert(robot, episode.task, robot.start)
    for _ in range(60):
        robot.act(alone.act())
    assert TASKS[episode.task].accomplished(robot.start, robot.simulation.world())
    assert not robot.success


def test_two_tasks_are_of_single_episodes_with_an_empty_hand() -> None:
    benchmark = TabletopChainsBenchmark(either_order=True)
    with pytest.raises(ConfigurationError, match="'lift_red_table' begins or ends with a block in the hand"):
        benchmark.episodes(1, 0, ["lift_red_table"])
    with pytest.raises(ConfigurationError, match="either_order is for single episodes, and these are chains"):
        benchmark.trials(1, 0)
    assert len(benchmark.trials(3, 0, ["open_drawer"])) == 3


def test_an_unknown_style_is_explained() -> None:
    with pytest.raises(ConfigurationError, match="styles: there is no 'lfet'"):
        TabletopChainsBenchmark(styles=["lfet"])
    with pytest.raises(ConfigurationError, match="name at least one"):
        TabletopChainsBenchmark(styles=[])
