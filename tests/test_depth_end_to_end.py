"""Depth from the simulator to a driven robot: recorded, opened by LeRobot, learned from, served, and never changed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from omegaconf import OmegaConf

from forehand import Observation, Robot, registry
from forehand.control.chunking import RecedingHorizon
from forehand.data.dataset import Dataset
from forehand.data.demonstrations.demonstrate import Noise, demonstrate
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.data.windows import WindowDataset
from forehand.learning.checkpoint import build_policy, load_policy
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer
from forehand.running.rollout import rollout
from forehand.wire import PolicyServer, RemotePolicy, RobotHost

POLICY = {
    "name": "composed",
    "dim": 32,
    "history": 1,
    "image_size": 32,
    "encoders": {
        "state": {"name": "state_mlp"},
        "depth": {"name": "depth_cnn", "sensors": ["depth_static"], "width": 8},
    },
    "backbone": {"name": "transformer", "layers": 1, "heads": 2, "dropout": 0.0},
    "world_model": None,
    "action_head": {"name": "chunk_regression", "chunk": 2},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": "mean_std"},
}
SENSORS = ["depth_static", "finger_forces"]


class Watched(Robot):
    """The robot, and what it has observed."""

    def __init__(self, robot: Robot) -> None:
        self.robot, self.contract, self.seen = robot, robot.contract, []

    def _note(self, observation: Observation) -> Observation:
        self.seen.append(copy.deepcopy(observation))
        return observation

    def connect(self):
        self.robot.connect()

    def reset(self, episode=None):
        return self._note(self.robot.reset(episode))

    def observe(self):
        return self._note(self.robot.observe())

    def act(self, action):
        return self.robot.act(action)

    def hold(self):
        self.robot.hold()

    def close(self):
        self.robot.close()


def make_robot() -> Watched:
    return Watched(registry().create("robot", "tabletop", image_size=32, sensors=SENSORS))


@pytest.mark.slow
def test_depth_is_recorded_learned_from_and_driven_with_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREHAND_CACHE", str(tmp_path / "cache"))
    benchmark = registry().create("benchmark", "tabletop")
    (episode,) = benchmark.episodes(1, seed=0, tasks=["push"])

    # record
    root, robot = tmp_path / "data", make_robot()
    robot.connect()
    recorded: list[np.ndarray] = []
    with recording_lock(root):
        require_same_contract(root, robot.contract)
        recorder = Recorder(root, robot.contract)
        add = recorder.add
        monkeypatch.setattr(recorder, "add", lambda seen, *more: (recorded.append(seen.sensors), add(seen, *more)))
        demonstrate(robot.robot, benchmark, episode, recorder, seed=0, noise=Noise(), hold_steps=0)
        recorder.save(0, episode.instruction)
        assert commit_episodes(root) == 1

    # LeRobot opens it
    theirs = LeRobotDataset("tests/depth", root=root)
    assert len(theirs) == len(recorded) > 10
    for number in (0, len(recorded) - 1):
        depth = theirs[number]["observation.images.depth_static"].numpy().squeeze()
        np.testing.assert_array_equal(depth, recorded[number]["depth_static"])
        forces = theirs[number]["observation.sensors.finger_forces"].numpy()
        np.testing.assert_array_equal(forces, recorded[number]["finger_forces"])

    # windows, and a few steps of training
    data = Dataset.open(root)
    torch.manual_seed(0)
    policy = build_policy(POLICY, data.contract, data.statistics)
    assert [sensor.name for sensor in policy.contract.sensors] == ["depth_static"]
    windows = WindowDataset(data, **policy.window)
    for number in (0, len(recorded) - 1):
        depth = windows[number]["observation"]["sensors.depth_static"][0].numpy()
        np.testing.assert_array_equal(depth, recorded[number]["depth_static"])
    losses: list[float] = []
    trainer = Trainer(
        policy,
        lambda step: windows.batch(np.arange(8)),
        Recipe(steps=15, learning_rate=3e-3, seed=0, batch_size=8, log_every=1),
        tmp_path / "run",
        config=OmegaConf.create(POLICY),
        statistics=data.statistics,
        facts={"fingerprint": data.fingerprint},
    )
    (tmp_path / "run").mkdir()
    trainer.run(lambda entry: losses.append(entry["loss"]))
    assert losses[-1] < 0.8 * losses[0]

    # served, and driving a robot host, both over ZeroMQ
    policy = load_policy(tmp_path / "run")
    shown: list[Observation] = []
    step = policy.step

    def noting(sessions, observations, **options):
        shown.extend(replace(o, sensors={k: v.copy() for k, v in o.sensors.items()}) for o in observations)
        return step(sessions, observations, **options)

    monkeypatch.setattr(policy, "step", noting)
    robot.seen.clear()
    with (
        PolicyServer(policy, "tcp://127.0.0.1:0").running() as server,
        RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host,
    ):
        body = registry().create("robot", "remote", address=host.address)
        body.connect()
        remote = RemotePolicy(server.address, timeout=30, contract=body.contract)
        try:
            rollout(body, remote, replace(episode, max_steps=4), RecedingHorizon(1))
        finally:
            remote.close()
            body.close()
    robot.close()
    assert len(shown) == 4
    by_time = {seen.time: seen.sensors["depth_static"] for seen in robot.seen}
    for observation in shown:
        assert observation.sensors["depth_static"].any()
        np.testing.assert_array_equal(observation.sensors["depth_static"], by_time[observation.time])
