"""LeRobot's own commands drive with a policy that we serve: the plugin is installed, found and used as by any user."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from forehand import Camera, Contract, Field, Policy, Prediction
from forehand.wire import PolicyServer

pytestmark = pytest.mark.slow

PLUGIN = Path(__file__).parents[2] / "plugins" / "lerobot_policy_forehand"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python or one of LeRobot's commands where pip installed the plugin, without the network."""
    site = tmp_path_factory.mktemp("site")
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", str(site), str(PLUGIN)], check=True)
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(*arguments):
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@contextmanager
def served(*arguments):
    """The address of ``forehand serve`` in a process of its own."""
    program = "from forehand_apps.main import main; main()"
    command = [sys.executable, "-c", program, "serve", *arguments, "address=tcp://127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGINT)


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


def test_the_policy_type_is_found_and_asks_our_server(python):
    with PolicyServer(Echo(), "tcp://127.0.0.1:0").running() as server:
        said = python(sys.executable, str(Path(__file__).with_name("ask.py")), server.address)
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
            "open_drawer,chain",
            ["--env.variant=AB", "--env.sentences=train", "--eval.use_async_envs=true"],
        ),
    ],
)
def test_lerobot_eval_judges_it_on_the_tabletops(python, tmp_path, environment, tasks, options):
    with served("policy.name=random", "robot.options.image_size=64") as address:
        python(
            str(BIN / "lerobot-eval"),
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
    assert judged["overall"]["n_episodes"] == 4
    assert len(judged["per_task"]) == 2
    assert len(list(tmp_path.rglob("*.mp4"))) == 4


def test_lerobot_rollout_drives_a_robot_with_it(python):
    robot = ("robot=lerobot", "robot.options.type=dummy_follower", "+robot.options.config.silent=true")
    with served("policy.name=random", *robot) as address:
        said = python(
            str(BIN / "lerobot-rollout"),
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


def test_lerobot_train_and_eval_use_our_policies_and_we_serve_what_they_saved(python, tmp_path):
    forehand = (sys.executable, "-c", "from forehand_apps.main import main; main()")
    data, run = tmp_path / "data", tmp_path / "run"
    small = ("robot.options.image_size=32", "tasks=[push]", "episodes=1", "workers=1")
    python(*forehand, "record", "robot=tabletop", f"output={data}", *small)
    python(
        *(str(BIN / "lerobot-train"), "--dataset.repo_id=local/data", f"--dataset.root={data}"),
        *("--policy.type=forehand", "--policy.config=seer_small", "--policy.push_to_hub=false", "--wandb.enable=false"),
        '--policy.overrides=["policy.dim=32","policy.history=2","policy.image_size=16"]',
        *("--policy.device=cpu", "--batch_size=4", "--num_workers=0", "--steps=2", "--save_freq=2"),
        f"--output_dir={run}",
    )
    folder = run / "checkpoints/last/pretrained_model"
    said = python(
        sys.executable, str(Path(__file__).with_name("compare.py")), str(folder), str(data), str(tmp_path / "cache")
    )
    assert [line for line in said.splitlines() if ": " in line] == [
        "the contract is that of the dataset: True",
        "windows are those of forehand train: True",
        "some of a chunk is padding: True",
        "actions are the same: True",
    ]
    python(
        *(str(BIN / "lerobot-eval"), f"--policy.path={folder}", "--policy.device=cpu", "--env.type=forehand_tabletop"),
        *("--env.task=push", "--env.image_size=32", "--env.episode_length=4", "--eval.use_async_envs=false"),
        *("--eval.n_episodes=1", "--eval.batch_size=1", f"--output_dir={tmp_path / 'judged'}"),
    )
    assert json.loads((tmp_path / "judged/eval_info.json").read_text())["overall"]["n_episodes"] == 1
    with served(f"policy.checkpoint={run}", "policy.device=cpu") as address:
        assert address.startswith("tcp://")
