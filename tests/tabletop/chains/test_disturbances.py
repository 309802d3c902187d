"""Disturbances: off unless asked for, the same for the same seed, and nothing that a task is judged on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forehand import Episode
from forehand.errors import ConfigurationError
from forehand_tabletop.chains.benchmark import TabletopChainsBenchmark
from forehand_tabletop.chains.dimensions import BLOCKS
from forehand_tabletop.chains.disturbances import DISTURBANCES, OBJECTS
from forehand_tabletop.chains.robot import TabletopChainsRobot
from forehand_tabletop.chains.tasks import PUSHED, TASKS

STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
ALL = tuple(DISTURBANCES)


def one(task: str, *disturbances: str, variant: str = "A", seed: int = 3) -> Episode:
    (episode,) = TabletopChainsBenchmark(variant, disturbances=disturbances).episodes(1, seed, [task])
    return episode


def states_and_pictures(robot: TabletopChainsRobot, episode: Episode, steps: int = 8) -> list[np.ndarray]:
    found = [*robot.reset(episode).images.values()]
    for step in range(steps):
        robot.act(np.array([0.02, 0.01 * np.sin(step), -0.02, 0, 0, 0.05, 1], np.float32))
        found += [robot.simulation.data.qpos.copy(), robot.simulation.data.qvel.copy()]
    return [*found, *robot.observe().images.values()]


def block_positions(robot: TabletopChainsRobot) -> np.ndarray:
    blocks = robot.simulation.world().blocks
    return np.array([blocks[name].position for name in BLOCKS])


def test_without_any_an_episode_says_nothing_of_them() -> None:
    assert not any("disturbances" in e.options for e in TabletopChainsBenchmark("A").episodes(40, 0))
    assert one("open_drawer", *reversed(ALL)).options["disturbances"] == " ".join(ALL)
    plain = one("open_drawer")
    assert replace(one("open_drawer", "lighting"), options=plain.options) == plain  # the same scene, the same sentence


def test_undisturbed_episodes_are_untouched_by_those_that_are_not(robot: TabletopChainsRobot) -> None:
    plain, disturbed = one("lift_red_table"), one("lift_red_table", *ALL)
    before = states_and_pictures(robot, plain)
    model = robot.simulation.model
    states_and_pictures(robot, disturbed)
    assert robot.simulation.model is not model
    after = states_and_pictures(robot, plain)
    assert robot.simulation.model is model
    for one_time, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one_time, other)


@pytest.mark.parametrize("name", ALL)
def test_the_seed_decides_and_the_scene_below_stays(robot: TabletopChainsRobot, name: str) -> None:
    episode = one("lift_red_table", name)
    first = states_and_pictures(robot, episode, 20)
    robot.begin(one("lift_red_table"))
    undisturbed = block_positions(robot)
    robot.begin(episode)
    np.testing.assert_array_equal(block_positions(robot), undisturbed)
    for one_time, other in zip(first, states_and_pictures(robot, episode, 20), strict=True):
        np.testing.assert_array_equal(one_time, other)
    other_seed = replace(episode, seed=episode.seed + 1)
    assert any((a != b).any() for a, b in zip(first, states_and_pictures(robot, other_seed, 20), strict=True))


@pytest.mark.parametrize("name", ["novel_objects", "lighting", "moving_distractor"])
def test_what_is_only_seen_changes_the_picture_and_no_block(robot: TabletopChainsRobot, name: str) -> None:
    plain = robot.reset(one("lift_red_table")).images["static"].astype(int)
    disturbed = robot.reset(one("lift_red_table", name)).images["static"].astype(int)
    assert np.abs(plain - disturbed).mean() > 0.5
    before = block_positions(robot)
    for _ in range(15):
        robot.act(STILL)
    np.testing.assert_allclose(block_positions(robot), before, atol=1e-3)


@pytest.mark.parametrize("variant", "ABCD")
def test_novel_objects_stand_still_apart_from_everything_and_can_be_pushed(
    robot: TabletopChainsRobot, variant: str
) -> None:
    robot.begin(one("push_red_left", "novel_objects", variant=variant))
    simulation = robot.simulation

    def positions() -> np.ndarray:
        return np.array([simulation.data.joint(name).qpos[:3] for name in OBJECTS])

    before, blocks = positions(), block_positions(robot)
    gaps = np.linalg.norm(before[:, None, :2] - np.concatenate([before, blocks])[None, :, :2], axis=-1)
    assert gaps[gaps > 0].min() > 0.08
    for _ in range(15):
        robot.act(STILL)
    np.testing.assert_allclose(positions(), before, atol=2e-3)
    for name in OBJECTS:
        simulation.data.joint(name).qvel[:2] = (0.0, -0.3)
    for _ in range(5):
        robot.act(STILL)
    assert (positions()[:, 1] < before[:, 1] - 0.003).all()


def test_the_distractor_drives_to_and_fro_and_touches_nothing(robot: TabletopChainsRobot) -> None:
    robot.begin(one("open_drawer", "moving_distractor"))
    simulation = robot.simulation
    bus = simulation.model.body("bus").id
    assert not simulation.model.geom_contype[simulation.model.geom_bodyid == bus].any()
    assert not simulation.model.geom_conaffinity[simulation.model.geom_bodyid == bus].any()
    way = []
    for _ in range(300):
        robot.act(STILL)
        way.append(float(simulation.data.body("bus").xpos[0]))
    steps = np.diff(way)
    assert (steps > 1e-3).any()
    assert (steps < -1e-3).any()
    assert np.abs(steps).max() < 0.02  # it never jumps


def test_a_block_is_pushed_once_for_each_task_and_never_so_far_that_a_task_is_done(robot: TabletopChainsRobot) -> None:
    pushes = 0
    for task in TASKS:
        episode = one(task, "pushed_block", seed=8)
        robot.begin(episode)
        grip = -1 if "held" in episode.options.values() else 1
        before = block_positions(robot)
        for _ in range(40):
            robot.act(np.array([0, 0, 0, 0, 0, 0, grip], np.float32))
            assert robot.success is False, task
        moved = np.linalg.norm((block_positions(robot) - before)[:, :2], axis=1)
        assert sorted(moved > 0.03) in ([False, False, True], [False, False, False])
        assert moved.max() < PUSHED
        pushes += bool((moved > 0.03).any())
        own = [block in task.split("_") for block in BLOCKS]
        assert not any(own) or not (moved > 0.03).any() or own == list(moved > 0.03), task
    assert pushes > 0.8 * len(TASKS)


def test_in_a_chain_every_task_has_a_push_of_its_own(robot: TabletopChainsRobot) -> None:
    chain = TabletopChainsBenchmark("A", disturbances=["pushed_block"]).trials(8, 0)[3]
    pushes = 0
    for episode in chain:
        robot.begin(episode)
        before = block_positions(robot)
        for _ in range(40):
            robot.act(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
        pushes += bool((np.linalg.norm((block_positions(robot) - before)[:, :2], axis=1) > 0.03).any())
    assert pushes >= len(chain) - 1


def test_one_that_there_is_not_is_refused_by_benchmark_and_robot(robot: TabletopChainsRobot) -> None:
    with pytest.raises(ConfigurationError, match=r"no disturbance 'lightning'.*'lighting'"):
        TabletopChainsBenchmark("A", disturbances=["lightning"])
    with pytest.raises(ConfigurationError, match="no disturbance 'earthquake'"):
        robot.begin(Episode("open_drawer", "", 0, 360, {"disturbances": "lighting earthquake"}))
