"""What a driven robot sees and does becomes a dataset, and nothing that was finished is lost."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forehand import Policy, Prediction
from forehand.control.chunking import RecedingHorizon
from forehand.data.recording.commit import commit_episodes, recording_lock
from forehand.errors import ContractMismatch, DatasetError
from forehand.running import BackgroundObserver, ControlLoop
from forehand.running.control_step import Step
from forehand.running.episode_recorder import EpisodeRecorder, record_episodes
from forehand.wire import RobotHost
from forehand_robots.remote import RemoteRobot

RIGHT = np.array([0.8, 0.5], np.float32)


class Rightwards(Policy):
    """Goes to where the task is accomplished."""

    def __init__(self, contract):
        self.contract = contract

    def step(self, sessions, observations, *, forecast=False):
        return [Prediction(np.clip(RIGHT - o.state, -0.05, 0.05)[None]) for o in observations]


def drive(robot, episodes, root, max_steps=40):
    """Drive and record; gives the moments of each episode."""
    with (
        record_episodes(root, robot.contract, "slider") as recorder,
        ControlLoop(robot, Rightwards(robot.contract), RecedingHorizon(), observers=[recorder]) as drive,
    ):
        for episode in episodes:
            drive.episode(episode.instruction, episode, max_steps)
    return drive.report.episodes


@pytest.fixture
def robot(slider):
    return slider.Slider(rate=50)


@pytest.fixture
def episodes(slider):
    return slider.Sliding().episodes(3, seed=1, tasks=["right"])


def load(root):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("tests/driven", root=root)


def test_a_run_becomes_a_lerobot_dataset_and_the_next_goes_on_with_it(robot, episodes, tmp_path):
    first = drive(robot, episodes[:2], tmp_path / "runs")
    second = drive(robot, episodes[2:], tmp_path / "runs", max_steps=3)
    assert [e["success"] for e in (*first, *second)] == [True, True, False]
    dataset = load(tmp_path / "runs")
    rows = list(dataset.meta.episodes)
    assert [row["length"] for row in rows] == [*(e["steps"] for e in first), 3]
    assert [row["forehand/outcome"] for row in rows] == ["success", "success", "failure"]
    assert [row["forehand/ending"] for row in rows] == ["accomplished", "accomplished", "step limit"]
    assert [row["forehand/held"] for row in rows] == [0, 0, 0]
    frame = dataset[2]
    assert frame["task"] == "slide right"
    seen = robot.reset(episodes[0])
    for _ in range(2):
        seen = robot.step(np.clip(RIGHT - seen.state, -0.05, 0.05))
    np.testing.assert_allclose(frame["observation.state"], seen.state, atol=1e-6)
    np.testing.assert_allclose(frame["action"], np.clip(RIGHT - seen.state, -0.05, 0.05), atol=1e-6)
    picture = frame["observation.images.static"].permute(1, 2, 0).numpy() * 255
    assert np.abs(picture - seen.images["static"]).mean() < 5


def test_a_robot_behind_a_host_is_recorded_alike(robot, episodes, tmp_path):
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        remote = RemoteRobot(host.address, timeout=30)
        remote.connect()
        (told,) = drive(remote, episodes[:1], tmp_path / "remote")
        remote.close()
    assert [e["length"] for e in load(tmp_path / "remote").meta.episodes] == [told["steps"]]


KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import slider
from forehand.running import StepObserver
import test_episode_recorder as tests

class Killer(StepObserver):
    def on_step(self, step):
        if step.step == 3 and len(run.report.episodes) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

robot = slider.Slider(rate=50)
with tests.record_episodes(tests.Path(sys.argv[1]), robot.contract, "slider") as recorder:
    run = tests.ControlLoop(
        robot, tests.Rightwards(robot.contract), tests.RecedingHorizon(), observers=[recorder, Killer()]
    )
    for episode in slider.Sliding().episodes(2, seed=1, tasks=["right"]):
        run.episode(episode.instruction, episode, 40)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_loses_no_finished_episode(robot, episodes, tmp_path):
    here = Path(__file__).parent
    program = KILLED.format(folder=str(here.parents[1] / "data/slider"))
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "runs")], cwd=here, capture_output=True, text=True, timeout=120
    )
    assert killed.returncode == -9, killed.stderr
    with recording_lock(tmp_path / "runs"):
        assert commit_episodes(tmp_path / "runs") == 1
    drive(robot, episodes[:1], tmp_path / "runs")
    assert len(load(tmp_path / "runs").meta.episodes) == 2


class Deaf:
    """A recorder whose disk is full."""

    root = Path("runs")

    def add(self, observation, action):
        raise OSError(28, "No space left on device")

    def discard(self):
        pass

    def __len__(self):
        return 0


def test_a_full_disk_ends_the_run_with_the_robot_holding(robot, episodes):
    held = []
    robot.hold = lambda: held.append(True)
    recorder = BackgroundObserver(EpisodeRecorder(Deaf()), "the recorder")
    with (
        pytest.raises(DatasetError, match=r"No space left on device.*finished episode is kept"),
        ControlLoop(robot, Rightwards(robot.contract), RecedingHorizon(), observers=[recorder]) as run,
    ):
        run.episode("slide left", replace(episodes[0], task="left"), max_steps=1000)
    recorder.close()
    assert held
    assert run.report.steps < 1000


def test_steps_in_which_the_robot_held_are_left_out_and_counted(robot, episodes, tmp_path):
    seen, action = robot.reset(episodes[0]), np.zeros(2, np.float32)
    with record_episodes(tmp_path / "runs", robot.contract, "slider") as recorder:
        recorder.on_episode_start(0, "slide right")
        for step, done in enumerate([None, action, None, action, action, None]):
            recorder.on_step(Step(step, seen, None, done))
        recorder.on_episode_end("stopped", None)
        recorder.on_episode_start(1, "nothing happens")
        recorder.on_step(Step(0, seen, None, None))
        recorder.on_episode_end("stopped", None)
    (row,) = load(tmp_path / "runs").meta.episodes
    assert (row["length"], row["forehand/held"], row["forehand/outcome"]) == (3, 2, "unknown")


def test_another_robot_s_dataset_is_refused_before_anything_moves(robot, slider, episodes, tmp_path):
    drive(robot, episodes[:1], tmp_path / "runs")
    other = slider.Slider(rate=25)
    with pytest.raises(ContractMismatch, match="control rate"):
        drive(other, episodes[:1], tmp_path / "runs")
    assert not hasattr(other, "position")
