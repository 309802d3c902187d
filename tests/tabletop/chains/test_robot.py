"""The environment: what an episode says is what is there, in every variant, and a chain goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forehand import Contract, Episode, Robot, registry
from forehand.errors import ConfigurationError
from forehand.evaluation.expert_future import ExpertFuture
from forehand_tabletop.blocks.robot import NotConnected
from forehand_tabletop.chains.benchmark import TabletopChainsBenchmark
from forehand_tabletop.chains.experts import ChainExpert
from forehand_tabletop.chains.robot import TabletopChainsRobot, start_state
from forehand_tabletop.chains.tasks import TASKS
from forehand_tabletop.chains.variants import variants
from forehand_tabletop.chains.world import symbolic_state


def test_it_is_registered_with_the_contract_of_its_arm() -> None:
    robot = registry().create("robot", "tabletop-chains", image_size=64)
    assert isinstance(robot, Robot)
    assert robot.contract == registry().create("robot", "tabletop", image_size=64).contract
    assert Contract.from_json(robot.contract.to_json()) == robot.contract
    with pytest.raises(NotConnected, match="connect"):
        robot.reset()


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants())
def test_every_start_is_as_it_was_told_and_nothing_is_done_yet(robot: TabletopChainsRobot, variant: str) -> None:
    for episode in TabletopChainsBenchmark(variant).episodes(len(TASKS), 5):
        robot.begin(episode)
        assert robot.success is False, episode
        assert symbolic_state(robot.start) == start_state(episode.options), episode
        grip = np.array([0, 0, 0, 0, 0, 0, -1 if "held" in episode.options.values() else 1], np.float32)
        before = robot.simulation.world()
        for _ in range(8):
            robot.act(grip)
        now = robot.simulation.world()
        assert robot.success is False, episode  # and nothing moves by itself
        for name, block in now.blocks.items():
            assert np.linalg.norm(block.position - before.blocks[name].position) < 4e-3, (name, episode)


def test_variants_look_different_and_the_same_one_the_same(robot: TabletopChainsRobot) -> None:
    def look(variant: str) -> np.ndarray:
        return robot.reset(Episode("open_drawer", "", 3, 360, {"variant": variant})).images["static"].astype(int)

    pictures = {name: look(name) for name in variants()}
    for name, picture in pictures.items():
        assert np.abs(look(name) - picture).mean() < 0.5
        for other in set(pictures) - {name}:
            assert np.abs(pictures[other] - picture).mean() > 10


def test_the_seed_determines_what_happens(robot: TabletopChainsRobot) -> None:
    (episode,) = TabletopChainsBenchmark("A").episodes(1, 9, ["lift_red_table"])
    ends = []
    for _ in range(2):
        robot.begin(episode)
        for step in range(12):
            robot.act(np.array([0.02, 0.01 * np.sin(step), -0.03, 0, 0, 0.05, -1], np.float32))
        ends.append(np.concatenate([robot.simulation.joints, robot.simulation.world().blocks["red"].position]))
        robot.begin(replace(episode, seed=episode.seed + 1))  # whatever was before
    np.testing.assert_array_equal(*ends)


def test_a_continued_episode_moves_nothing_and_is_judged_from_there(robot: TabletopChainsRobot) -> None:
    first, second = TabletopChainsBenchmark("A").trials(1, 2)[0][:2]
    robot.begin(first)
    for _ in range(3):
        robot.act(np.array([0.02, 0, 0, 0, 0, 0, 1], np.float32))
    before, time = robot.simulation.joints, robot.simulation.time
    robot.begin(second)
    np.testing.assert_array_equal(robot.simulation.joints, before)
    assert robot.simulation.time == time
    assert robot.episode == second
    assert robot.success is False


def test_an_episode_may_begin_where_other_tasks_left_off(robot: TabletopChainsRobot) -> None:
    fresh = Episode("open_drawer", "", 4, 360, {"variant": "A", "slider": "left"})
    robot.begin(fresh)
    home = robot.simulation.tool_position
    later = replace(fresh, options={**fresh.options, "before": "move_slider_right turn_on_bulb"})
    robot.begin(later)
    assert robot.success is False
    assert (symbolic_state(robot.start).slider, symbolic_state(robot.start).bulb) == ("right", "on")
    assert np.linalg.norm(robot.simulation.tool_position - home) > 0.05
    told = [
        episode.options.get("before", "") for episode in TabletopChainsBenchmark("A", preceding_tasks=3).episodes(64, 1)
    ]
    assert {len(str(tasks).split()) for tasks in told} == {0, 1, 2, 3}
    with pytest.raises(ConfigurationError, match="preceding_tasks must be 0"):
        TabletopChainsBenchmark("A", preceding_tasks=-1)


def test_the_button_switches_the_light_once_a_press(robot: TabletopChainsRobot) -> None:
    robot.begin(Episode("turn_on_light", "", 1, 360, {"variant": "A"}))
    expert = ChainExpert(robot, "turn_on_light", robot.start)
    while not robot.success:
        robot.act(expert.act())
    for height, shines in ((-0.01, True), (0.02, True), (-0.02, False)):  # on with it, up, and down again
        for _ in range(6):
            robot.act(np.array([0, 0, height, 0, 0, 0, -1], np.float32))
        assert robot.simulation.world().light is shines


def test_a_variant_of_your_own_is_a_file(robot: TabletopChainsRobot, tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "robots/forehand_tabletop/chains/variants.yaml"
    entry = source.read_text().split("\nB:\n")[1].split("\n\n")[0]
    mine = tmp_path / "mine.yaml"
    mine.write_text("E:\n" + entry.replace("0.665", "0.65"))
    (episode,) = TabletopChainsBenchmark(str(mine)).episodes(1, 0, ["open_drawer"])
    robot.begin(episode)
    assert robot.simulation.variant.name == "E"
    assert robot.simulation.site("drawer")[0] == pytest.approx(0.65)
    mine.write_text("E: {fixtures: {drawer: 0.4}}")
    with pytest.raises(ConfigurationError, match="it needs fixtures, table"):
        TabletopChainsBenchmark(str(tmp_path / "mine.yaml").replace("mine", "./mine"))


def test_starts_that_cannot_be_are_refused(robot: TabletopChainsRobot) -> None:
    with pytest.raises(ConfigurationError, match="drawer is closed or open"):
        robot.begin(Episode("open_drawer", "", 0, 360, {"drawer": "ajar"}))
    with pytest.raises(ConfigurationError, match="at most one block is held"):
        robot.begin(Episode("open_drawer", "", 0, 360, {"red": "held", "blue": "held"}))
    with pytest.raises(ConfigurationError, match="no task 'juggle'"):
        robot.begin(Episode("juggle", "", 0, 360))


@pytest.mark.slow
def test_high_render_quality_looks_different() -> None:
    pictures = []
    for render in ("fast", "high"):
        robot = TabletopChainsRobot(image_size=64, render=render)
        robot.connect()
        pictures.append(robot.reset().images["static"].astype(int))
        robot.close()
    assert np.abs(pictures[0] - pictures[1]).mean() > 1


@pytest.mark.slow
def test_looks_differ_in_the_picture_alone() -> None:
    (episode,) = TabletopChainsBenchmark("B").episodes(1, 4, ["place_in_drawer"])
    states = []
    for render in ("fast", "high"):
        robot = TabletopChainsRobot(image_size=16, render=render)
        robot.connect()
        robot.begin(episode)
        expert = ChainExpert(robot, episode.task, robot.start)
        for _ in range(12):
            robot.act(expert.act())
            states.append(robot.simulation.data.qpos.copy())
        robot.close()
    np.testing.assert_array_equal(states[:12], states[12:])


def test_a_portrait_is_one_camera_more() -> None:
    robot = TabletopChainsRobot(image_size=16, overview_camera=True)
    plain = TabletopChainsRobot(image_size=16)
    assert [camera.name for camera in robot.contract.cameras] == ["portrait", "static", "wrist"]
    assert robot.contract.cameras[1:] == plain.contract.cameras
    robot.connect()
    assert set(robot.reset().images) == {"portrait", "static", "wrist"}
    robot.close()


def test_the_expert_s_future_is_what_comes_if_it_acts(robot):
    benchmark = registry().create("benchmark", "tabletop-chains")
    (episode,) = benchmark.episodes(1, 3, ["turn_on_light"])
    robot.reset(episode)
    seen = ExpertFuture(benchmark, robot).ahead(5)
    expert = benchmark.expert(robot, episode, episode.seed)
    came = [robot.step(expert.act()) for _ in range(5)]
    for expected, now in zip(seen, came, strict=True):
        np.testing.assert_array_equal(expected.state, now.state)
        np.testing.assert_array_equal(expected.images["static"], now.images["static"])
    (disturbed,) = registry().create("benchmark", "tabletop-chains", disturbances=["pushed_block"]).episodes(1, 3)
    robot.reset(disturbed)
    with pytest.raises(ConfigurationError, match="cannot be undone"):
        ExpertFuture(benchmark, robot).ahead(1)
