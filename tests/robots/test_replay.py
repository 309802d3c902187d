"""A recorded episode is a robot: it shows what was seen, and compares what is done with what was done."""

import logging
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from forehand import Episode, Sensor, registry
from forehand.conformance import assert_robot_conforms
from forehand.conformance.example import CONTRACT, observation
from forehand.control.chunking import make_chunker
from forehand.data.features import CONTRACT_FILE
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError, ForehandError
from forehand.running.rollout import rollout
from forehand.wire import RobotHost
from forehand_robots.remote import RemoteRobot
from forehand_robots.replay import ReplayRobot


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FOREHAND_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def recorded(slider_dataset):
    """The states and actions of episode 1."""
    episodes = read_episodes(slider_dataset)
    return episodes.states[episodes.episode == 1], episodes.actions[episodes.episode == 1]


@pytest.fixture
def replay(slider_dataset):
    robot = ReplayRobot(str(slider_dataset), episode=1)
    robot.connect()
    yield robot
    robot.close()


def test_it_conforms(slider_dataset):
    assert_robot_conforms(partial(ReplayRobot, str(slider_dataset)))
    assert_robot_conforms(
        partial(ReplayRobot, str(slider_dataset)), Episode("replay", "slide", 0, 40, options={"episode": 2})
    )


def test_sensors_are_those_that_were_recorded(tmp_path):
    sensors = (
        Sensor("depth", "depth", (8, 8), "uint16", unit="mm"),
        Sensor("cloud", "point_cloud", (None, 3), "float32", most=4),
        Sensor("force", "vector", (2,), "float32"),
    )
    contract = replace(CONTRACT, sensors=sensors)
    random = np.random.default_rng(0)
    seen = [observation(contract, random, step / 15) for step in range(3)]
    with recording_lock(tmp_path):
        require_same_contract(tmp_path, contract)
        recorder = Recorder(tmp_path, contract)
        for frame in seen:
            recorder.add(frame, np.zeros(contract.action_size, np.float32))
        recorder.save(0, "wait")
        commit_episodes(tmp_path)
    assert_robot_conforms(partial(ReplayRobot, str(tmp_path)))
    robot = ReplayRobot(str(tmp_path))
    robot.connect()
    still = np.zeros(contract.action_size, np.float32)
    for frame, shown in zip(seen, [robot.reset(), robot.step(still), robot.step(still)], strict=True):
        for name, values in frame.sensors.items():
            np.testing.assert_array_equal(shown.sensors[name], values)
    robot.close()


def test_its_contract_is_the_recordings(replay, slider):
    assert replay.contract == slider.Slider().contract


def test_it_shows_what_was_seen_whatever_is_done(replay, recorded):
    states, actions = recorded
    seen = [replay.reset(), *(replay.step(-action) for action in actions[:-1])]
    np.testing.assert_array_equal([o.state for o in seen], states)
    np.testing.assert_allclose([o.time for o in seen], np.arange(len(states)) / 20)
    assert [o.success for o in seen] == [False] * (len(states) - 1) + [True]
    column = int(states[0, 0] * 24)
    row = int(states[0, 1] * 24)
    assert seen[0].images["static"][row + 4, column + 4].min() > 150  # the bright square, where the state says it is
    assert seen[0].images["static"][(row + 16) % 32, (column + 16) % 32].max() < 90


def test_the_deviation_is_what_was_done_minus_what_was_recorded(replay, recorded, caplog):
    _, actions = recorded
    replay.reset()
    assert replay.deviation.shape == (0, 2)
    for action in actions[:3]:
        replay.act(action / 2)
    np.testing.assert_allclose(replay.deviation, -actions[:3] / 2, atol=1e-7)
    with caplog.at_level(logging.INFO):
        replay.reset()
    mean = np.abs(actions[:3] / 2).mean()
    assert f"episode 1: 3 of {len(actions) - 1} steps replayed" in caplog.text
    assert f"position {mean:.3g} m" in caplog.text
    assert len(replay.deviation) == 0


def test_after_its_end_the_last_frame_stays(replay, recorded):
    states, actions = recorded
    replay.reset()
    for _ in range(len(actions) + 3):
        last = replay.step(np.zeros(2, np.float32))
    np.testing.assert_array_equal(last.state, states[-1])
    assert len(replay.deviation) == len(actions) - 1


def test_an_episode_chooses_the_recording_and_ends_with_it(replay, slider_dataset):
    policy = registry().create("policy", "zero_action", contract=replay.contract)
    episode = Episode("replay", "slide", 0, max_steps=100, options={"episode": 2})
    outcome = rollout(replay, policy, episode, make_chunker(replay.contract, "receding_horizon"))
    length = int((read_episodes(slider_dataset).episode == 2).sum())
    assert outcome.success
    assert outcome.steps == length - 1


def test_a_foreign_dataset_replays_under_what_it_says(slider_dataset, tmp_path):
    foreign = shutil.copytree(slider_dataset, tmp_path / "foreign")
    (foreign / CONTRACT_FILE).unlink()
    assert_robot_conforms(partial(ReplayRobot, str(foreign)))


def test_what_cannot_be_replayed_says_why(slider_dataset, replay, tmp_path):
    with pytest.raises(DatasetError, match="no dataset at"):
        ReplayRobot(str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match=r"no episode 9; it has 0 to 2.*robot\.options\.episode"):
        ReplayRobot(str(slider_dataset), episode=9).connect()
    with pytest.raises(ForehandError, match=r"call connect\(\) first"):
        ReplayRobot(str(slider_dataset)).observe()
    replay.reset()
    with pytest.raises(ContractMismatch):
        replay.act(np.zeros(3, np.float32))
    assert len(replay.deviation) == 0


def test_a_robot_host_can_wrap_it(slider_dataset):
    robot = registry().create("robot", "replay", dataset=str(slider_dataset))
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        assert_robot_conforms(lambda: RemoteRobot(host.address))
