"""LeRobot's own commands drive with a policy that we serve: the plugin is installed, found and used as by any user.

``lerobot-rollout`` runs in a process of its own, the other commands in this one; the tour of the pages types those.
"""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.child_process import run_child

from forehand import Camera, Contract, Field, Policy, Prediction, registry
from forehand.learning.checkpoint import load_policy
from forehand.wire import PolicyServer, RemotePolicy
from forehand_apps.cli.instantiate import contract_of

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1] / "plugins" / "lerobot_policy_forehand"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where pip installed the plugin, without the network."""
    folder = tmp_path_factory.mktemp("site")
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    run_child([sys.executable, "-m", "pip", "install", *offline, "--target", str(folder), str(PLUGIN)], check=True)
    return folder


@pytest.fixture
def process(site):
    """Runs one of LeRobot's commands in a process of its own; gives what it printed."""
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(command, *arguments):
        return run_child([BIN / command, *arguments], env=environment, check=True).stdout

    return run


@pytest.fixture
def here(site, lerobot_here, monkeypatch):
    """Runs one of LeRobot's commands, or a script beside this file, in this process; gives what it printed."""
    monkeypatch.syspath_prepend(site)
    return lambda command, *options: lerobot_here(str(HERE / command) if command.endswith(".py") else command, *options)


@contextmanager
def served(robot, **options):
    """The address of a server of the policy ``random`` for a robot."""
    policy = registry().create("policy", "random", contract=contract_of(registry().create("robot", robot, **options)))
    with PolicyServer(policy, "tcp://127.0.0.1:0").running() as server:
        yield server.address


class Echo(Policy):
    """Answers with the state, then with the mean of the first picture."""

    contract = Contract(
        (Camera("static", 24, 32), Camera("wrist", 16, 16)), (Field("state", 7),), (Field("action", 7),), 15.0
    )
    batches: tuple[int, ...] = ()

    def step(self, sessions, observations, *, forecast=False):
        self.batches += (len(sessions),)
        means = [np.full(7, o.images["static"].mean()) for o in observations]
        return [Prediction(np.stack([o.state, m]).astype(np.float32)) for o, m in zip(observations, means, strict=True)]


def test_the_policy_type_is_found_and_asks_our_server(here):
    with PolicyServer(Echo(), "tcp://127.0.0.1:0").running() as server:
        said = here("ask.py", server.address)
    assert said.splitlines() == [
        "environment found: True",
        "actions are the server's: True",
        "pictures arrive as they are: True",
        "a chunk is carried out before the next question: True",
        "the next question is a new one: True",
        "after a reset: True",
        "ContractMismatch: The state that came is 3 numbers ({'observation.state': 3}), but the policy's is 7: state 7.",
        "success is told: True",
    ]


@pytest.mark.parametrize(
    ("environment", "tasks", "options"),
    [
        ("forehand_tabletop", "lift,push", ["--eval.use_async_envs=false"]),
        (
            "forehand_tabletop_chains",
            "chain",
            ["--env.variant=AB", "--env.sentences=train", "--eval.use_async_envs=true"],
        ),
    ],
)
def test_lerobot_eval_judges_it_on_the_tabletops(here, tmp_path, environment, tasks, options):
    with served("tabletop", image_size=64) as address:
        here(
            "lerobot-eval",
            "--policy.type=forehand_remote",
            f"--policy.address={address}",
            "--policy.device=cpu",
            f"--env.type={environment}",
            f"--env.task={tasks}",
            "--env.image_size=64",
            "--env.episode_length=6",
            "--eval.n_episodes=2",
            "--eval.batch_size=2",
            *options,
            f"--output_dir={tmp_path}",
        )
    judged = json.loads((tmp_path / "eval_info.json").read_text())
    episodes = 2 * len(tasks.split(","))
    assert judged["overall"]["n_episodes"] == episodes
    assert len(judged["per_task"]) == len(tasks.split(","))
    assert len(list(tmp_path.rglob("*.mp4"))) == episodes


def test_lerobot_rollout_drives_a_robot_with_it(process):
    with served("lerobot", type="dummy_follower", config={"silent": True}) as address:
        said = process(
            "lerobot-rollout",
            "--policy.type=forehand_remote",
            f"--policy.address={address}",
            "--policy.device=cpu",
            "--robot.type=dummy_follower",
            "--robot.id=forehand_test",
            "--task=wave",
            "--duration=1",
        )
    actions = [line for line in said.splitlines() if "gripper.pos:" in line]
    assert len(actions) > 10
    assert len(set(actions[:10])) > 1  # the random policy's, at 30 Hz


def test_lerobot_train_and_eval_use_our_policies_and_we_serve_what_they_saved(here, in_process, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    small = ("robot.options.image_size=32", "tasks=[push]", "episodes=1", "workers=1")
    recorded = in_process("record", "robot=tabletop", f"output={data}", *small)
    assert recorded.returncode == 0, recorded.stderr
    here(
        *("lerobot-train", "--dataset.repo_id=local/data", f"--dataset.root={data}"),
        *("--policy.type=forehand", "--policy.config=seer_small", "--policy.push_to_hub=false", "--wandb.enable=false"),
        '--policy.overrides=["policy.dim=32","policy.history=2","policy.image_size=16"]',
        *("--policy.device=cpu", "--batch_size=4", "--num_workers=0", "--steps=2", "--save_freq=2"),
        f"--output_dir={run}",
    )
    folder = run / "checkpoints/last/pretrained_model"
    said = here("compare.py", str(folder), str(data), str(tmp_path / "cache"))
    assert [line for line in said.splitlines() if ": " in line] == [
        "the contract is that of the dataset: True",
        "windows are those of forehand train: True",
        "some of a chunk is padding: True",
        "actions are the same: True",
    ]
    here(
        *("lerobot-eval", f"--policy.path={folder}", "--policy.device=cpu", "--env.type=forehand_tabletop"),
        *("--env.task=push", "--env.image_size=32", "--env.episode_length=4", "--eval.use_async_envs=false"),
        *("--eval.n_episodes=1", "--eval.batch_size=1", f"--output_dir={tmp_path / 'judged'}"),
    )
    assert json.loads((tmp_path / "judged/eval_info.json").read_text())["overall"]["n_episodes"] == 1
    with PolicyServer(load_policy(run), "tcp://127.0.0.1:0").running() as server:
        assert RemotePolicy(server.address).contract == load_policy(folder).contract
