"""The embedded benchmarks as any Gymnasium environment: checked, vectorised, drawn, seeded, chosen from."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from tests.child_process import run_child

from forehand.errors import ConfigurationError
from forehand.plugins import registry
from forehand_robots.gymnasium_env import BenchmarkEnvironment, TabletopEnvironment
from forehand_tabletop.blocks.robot import TabletopRobot

KINDS = {
    "tasks": ("forehand/Tabletop-v0", {}),
    "chains": ("forehand/Tabletop-v0", {"chain": True, "variant": "AB"}),
    "blocks": ("forehand/TabletopBlocks-v0", {}),
}


@pytest.fixture(scope="module")
def tabletop() -> Iterator[TabletopEnvironment]:
    environment = TabletopEnvironment(image_size=32)
    yield environment
    environment.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_gymnasium_finds_nothing_wrong(kind: str) -> None:
    name, options = KINDS[kind]
    environment = gymnasium.make(name, image_size=32, render_mode="rgb_array", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The state is unbounded where the contract states no bounds.
        warnings.filterwarnings("ignore", message=".*Box observation space m.* value is -?infinity")
        check_env(environment.unwrapped)
    environment.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_environments_run_side_by_side(mode: str) -> None:
    # A process of its own: environments that draw cannot be forked from one that has drawn.
    program = f"""
import gymnasium
environments = gymnasium.make_vec(
    "forehand_robots.gymnasium_env:forehand/Tabletop-v0", num_envs=2, vectorization_mode="{mode}", image_size=32,
    max_steps=2, task="open_drawer",
)
seen, info = environments.reset(seed=5)
print(seen["static"].shape, seen["state"].shape)
print(*seen["instruction"], sep=", ")
assert list(seen["instruction"]) == list(info["instruction"])
for step in range(2):
    seen, reward, terminated, truncated, info = environments.step(environments.action_space.sample())
print(*truncated)
environments.close()
"""
    ran = run_child([sys.executable, "-c", program], deadline=120)
    assert ran.returncode == 0, ran.stderr
    shapes, sentences, truncated = ran.stdout.splitlines()
    assert shapes == "(2, 32, 32, 3) (2, 8)"
    assert sentences.count("drawer") == 2
    assert truncated == "True True"


def draw_in_a_fork(pipe) -> None:
    try:
        TabletopRobot(image_size=16).connect()
    except Exception as error:
        pipe.send(str(error))


def test_a_fork_of_a_process_that_draws_says_what_to_do(tabletop: TabletopEnvironment) -> None:
    tabletop.reset()
    mine, theirs = multiprocessing.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is what is tried
        process = multiprocessing.get_context("fork").Process(target=draw_in_a_fork, args=(theirs,))
        process.start()
    process.join(60)
    assert mine.poll()
    assert "forkserver" in mine.recv()


def test_registering_needs_no_simulator() -> None:
    program = "import forehand_robots.gymnasium_env, sys; print({'mujoco', 'dm_control', 'torch'} & set(sys.modules))"
    assert run_child([sys.executable, "-c", program], check=True).stdout.strip() == "set()"


def test_the_seed_decides_scene_task_and_sentence(tabletop: TabletopEnvironment) -> None:
    first, _ = tabletop.reset(seed=1)
    again, _ = tabletop.reset(seed=1)
    others = [tabletop.reset(seed=seed)[1]["task"] for seed in range(2, 12)]
    assert first["instruction"] == again["instruction"]
    assert np.array_equal(first["static"], again["static"])
    assert len(set(others)) > 5


def test_options_choose_the_task_and_the_number_that_evaluations_give(tabletop: TabletopEnvironment) -> None:
    benchmark = registry().create("benchmark", "tabletop-chains")
    tabletop.reset(seed=3, options={"episode": 40})
    assert (tabletop.episode,) == benchmark.trials(41, 3, benchmark.tasks)[40]
    _, info = tabletop.reset(options={"task": "turn_on_light"})
    assert info["task"] == "turn_on_light"
    with pytest.raises(ConfigurationError, match=r"episode, a number from 0, and task, one of open_drawer, .*'fly'"):
        tabletop.reset(options={"task": "fly"})


def solve(environment: BenchmarkEnvironment, seed: int) -> list[tuple[float, bool, bool, dict]]:
    """What each step to the end of an episode gave, with the expert driving."""
    environment.reset(seed=seed)
    steps, episode, expert = [], None, None
    while True:
        if environment.episode is not episode:
            episode = environment.episode
            expert = environment._benchmark.expert(environment._robot, episode, 0)
        _, reward, terminated, truncated, info = environment.step(expert.act())
        steps.append((reward, terminated, truncated, info))
        if terminated or truncated:
            return steps


def test_an_accomplished_task_is_rewarded_once_and_ends_the_episode(tabletop: TabletopEnvironment) -> None:
    *before, (reward, terminated, truncated, info) = solve(tabletop, 0)
    assert not any(reward for reward, *_ in before)
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["success"]
    assert not any(info["success"] for *_, info in before)


def test_a_chain_goes_on_with_the_next_instruction_in_the_same_scene() -> None:
    environment = TabletopEnvironment(chain=True, variant="A", image_size=16)
    steps = solve(environment, 4)
    environment.close()
    assert sum(reward for reward, *_ in steps) == 5
    assert steps[-1][1]
    told = list(dict.fromkeys(info["task"] for *_, info in steps))
    assert told == [episode.task for episode in environment._trial]
    assert [info["accomplished"] for *_, info in steps] == sorted(info["accomplished"] for *_, info in steps)


def test_who_dawdles_is_truncated() -> None:
    environment = TabletopEnvironment("open_drawer", max_steps=3, image_size=16)
    environment.reset(seed=0)
    still = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
    ends = [environment.step(still)[2:4] for _ in range(3)]
    environment.close()
    assert ends == [(False, False), (False, False), (False, True)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task": "opn_drawer"}, "'opn_drawer'. Did you mean 'open_drawer'"),
        ({"task": "open_drawer", "chain": True}, "five tasks of its own"),
        ({"variant": "Q"}, "no variant 'Q'"),
        ({"sentences": "all"}, "there are train and test sentences"),
    ],
)
def test_what_cannot_be_made_is_named(options: dict, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        gymnasium.make("forehand/Tabletop-v0", **options).reset()
