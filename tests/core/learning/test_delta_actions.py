"""A policy that learns deltas of absolute actions is one that learns relative ones: the same losses, the same path."""

import json
from collections import deque
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forehand.control.chunking import RecedingHorizon, TemporalEnsemble
from forehand.data.dataset import Dataset
from forehand.data.demonstrations.demonstrate import Noise, demonstrate
from forehand.data.embodiments import EmbodimentDatasets
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError
from forehand.learning.checkpoint import CONTRACT, build_cross_embodiment, build_policy, load_policy, save_policy
from forehand.running.rollout import rollout
from forehand.wire import PolicyServer, RemotePolicy

CHUNK = 3
POLICY = {
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 16,
    "encoders": {
        "text": {"name": "example/text"},
        "state": {"name": "example/state"},  # no camera: a difference of 1e-8 moves the slider's picture by a pixel
    },
    "backbone": {"name": "example/transformer", "layers": 1},
    "world_model": None,
    "action_head": {"name": "example/regression", "chunk": CHUNK},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": {"method": "quantiles", "per_step": True, "clip": 1.5}},
}
STEPWISE = {"name": "delta", "relative_to": "previous"}


@pytest.fixture(scope="module")
def absolute(slider):
    """The slider whose actions say where to go, and not how far; and its benchmark."""

    class Absolute(slider.Slider):
        def __init__(self):
            super().__init__()
            (field,) = self.contract.action
            places = replace(field, mode="absolute", low=(0.0, 0.0), high=(1.0, 1.0))
            self.contract = replace(self.contract, action=(places,))

        def act(self, action):
            super().act(action - self.position)
            return action

    class Straight(slider.Straight):
        def act(self):
            motion = super().act()
            return None if motion is None else (self.robot.position + motion).astype(np.float32)

    class Sliding(slider.Sliding):
        def expert(self, robot, episode, seed):
            return Straight(robot, episode, self.hopeless)

    return Absolute(), Sliding()


@pytest.fixture(scope="module")
def absolute_dataset(absolute, tmp_path_factory) -> Path:
    """The episodes of ``slider_dataset``, with absolute actions."""
    root = tmp_path_factory.mktemp("datasets") / "absolute"
    robot, benchmark = absolute
    with recording_lock(root):
        require_same_contract(root, robot.contract)
        recorder = Recorder(root, robot.contract)
        for index, episode in enumerate(benchmark.episodes(3, seed=1)):
            assert demonstrate(robot, benchmark, episode, recorder, seed=0, noise=Noise(), hold_steps=1)
            recorder.save(index, episode.instruction)
        assert commit_episodes(root) == 3
    return root


def train(source: Path, cache: Path, actions, steps: int = 25):
    """A trained policy, its configuration, its data and its losses."""
    data = Dataset.open(source)
    config = POLICY if actions is None else {**POLICY, "actions": actions}
    torch.manual_seed(0)
    policy = build_policy(config, data.contract, data.statistics).train()
    windows = WindowDataset(data, policy.window, cache=cache)
    optimizer = torch.optim.AdamW(policy.parameters(), 3e-3)
    losses = []
    for step in range(steps):
        batch = windows.batch(np.random.default_rng(step).integers(len(windows), size=8))
        loss, _ = policy(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return policy.eval(), config, data, losses


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def both(slider_dataset, absolute_dataset, cache, example_parts):
    """The policy that learned the relative actions that were recorded, and that of deltas of absolute ones."""
    return train(slider_dataset, cache, None), train(absolute_dataset, cache, STEPWISE)


def drive(robot, policy, episode, chunker):
    """States (t, S) and commands (t, A) of one episode."""
    steps = []
    rollout(robot, policy, replace(episode, max_steps=12), chunker, on_step=steps.append)
    driven = [step for step in steps if step.action is not None]
    return np.array([step.observation.state for step in driven]), np.array([step.action for step in driven])


def test_it_learns_as_if_the_actions_had_been_relative(both):
    (relative, _, _, losses), (delta, _, _, others) = both
    np.testing.assert_allclose(losses, others, rtol=1e-4)
    assert losses[-1] < 0.5 * losses[0]
    for name in ("center", "scale"):
        one, other = (getattr(policy.normalize_action, name) for policy in (relative, delta))
        assert one.shape == (CHUNK, 2)
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_served_from_its_checkpoint_it_drives_the_same_path_in_the_robot_s_units(both, slider, absolute, tmp_path):
    (relative, *_), (delta, config, data, _) = both
    save_policy(tmp_path / "delta", delta, config, data.statistics, {})
    episode = slider.Sliding().episodes(1, seed=5)[0]
    robot, _ = absolute
    expected, motions = drive(slider.Slider(), relative, episode, RecedingHorizon(CHUNK))
    server = PolicyServer(load_policy(tmp_path / "delta"), "tcp://127.0.0.1:0")
    with server.running(), closing(RemotePolicy(server.address, 60.0, robot.contract)) as policy:
        assert policy.contract.action[0].mode == "absolute"
        states, places = drive(robot, policy, episode, RecedingHorizon(CHUNK))
    assert np.abs(expected[-1] - expected[0]).max() > 0.05
    np.testing.assert_allclose(states, expected, atol=1e-5)
    np.testing.assert_allclose(places - states, motions, atol=1e-5)


def test_the_checkpoint_states_the_statistics_of_what_was_trained_on(both, tmp_path):
    _, (delta, config, data, _) = both
    save_policy(tmp_path / "delta", delta, config, data.statistics, {})
    statistics = json.loads((tmp_path / "delta" / CONTRACT).read_text())["statistics"]
    (key,) = (key for key in statistics if key.startswith("action."))
    assert key == f"action.delta(previous, base, position:2).chunk_{CHUNK}.per_step"
    assert np.abs(statistics[key]["max"]).max() < 0.06  # steps of 0.05, to the left and to the right
    assert np.max(statistics["action"]["max"]) > 0.7  # places, in the contract's units
    loaded = load_policy(tmp_path / "delta")
    for name, value in delta.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    del statistics[key]
    with pytest.raises(ConfigurationError, match=r"needs statistics of chunks of 3 actions .* has only \['action', 'obs"):
        build_policy(config, data.contract, statistics)


def test_embodiments_with_relative_and_absolute_actions_share_a_policy(
    slider_dataset, absolute_dataset, absolute, slider, example_parts, tmp_path
):
    data = EmbodimentDatasets.open({"relative": slider_dataset, "absolute": absolute_dataset})
    config = {**POLICY, "actions": STEPWISE}
    policy = build_cross_embodiment(config, data.embodiments)
    save_policy(tmp_path / "both", policy, config, data.statistics, {}, embodiments=data.embodiments)
    loaded = load_policy(tmp_path / "both")
    one, other = (loaded.for_robot(robot.contract) for robot in (slider.Slider(), absolute[0]))
    torch.testing.assert_close(one.normalize_action.scale, other.normalize_action.scale)
    frame = absolute[0].reset(slider.Sliding().episodes(1, seed=5)[0])
    motions, places = (its.step([its.open("go")], [frame])[0].actions for its in (one, other))
    assert motions.shape == places.shape == (CHUNK, 2)
    deltas = other.delta_actions.to_delta(places, frame.state)
    assert np.abs(deltas).max() < 0.2 < np.abs(places).max()


# ---- a policy whose deltas are known -----------------------------------------------------------------------------------

KNOWN = np.array([[0.002, 0.004], [0.006, 0.01], [0.012, 0.006]], np.float32)


def known(data: Dataset, actions):
    """A policy that predicts KNOWN, whatever it sees."""
    policy = build_policy({**POLICY, "actions": actions}, data.contract, data.statistics).eval()
    policy.normalize_action.center.copy_(torch.from_numpy(KNOWN))
    torch.nn.init.zeros_(policy.action_head.motion.weight)
    torch.nn.init.zeros_(policy.action_head.motion.bias)
    return policy


@pytest.mark.parametrize("actions", ["delta", STEPWISE])
def test_an_ensemble_averages_places_that_were_seen_from_where_each_chunk_began(
    absolute_dataset, absolute, slider, actions, example_parts
):
    policy, (robot, _) = known(Dataset.open(absolute_dataset), actions), absolute
    offsets = np.cumsum(KNOWN, axis=0) if actions is STEPWISE else KNOWN
    states, places = drive(robot, policy, slider.Sliding().episodes(1, seed=5)[0], TemporalEnsemble(decay=0.3))
    started: deque[np.ndarray] = deque(maxlen=CHUNK)
    for state, place in zip(states, places, strict=True):
        started.append(state)
        predictions = [s + offsets[age] for s, age in zip(started, reversed(range(len(started))), strict=True)]
        weights = np.exp(-0.3 * np.arange(len(predictions)))
        np.testing.assert_allclose(place, weights @ np.stack(predictions) / weights.sum(), atol=1e-6)


def test_sessions_of_one_batch_have_deltas_of_their_own_states(absolute_dataset, absolute, slider, example_parts):
    policy, (robot, _) = known(Dataset.open(absolute_dataset), "delta"), absolute
    frames = [robot.reset(episode) for episode in slider.Sliding().episodes(3, seed=7)]
    answers = policy.step([policy.open(e) for e in "abc"], frames)
    for frame, answer in zip(frames, answers, strict=True):
        assert answer.actions.dtype == np.float32
        np.testing.assert_allclose(answer.actions, frame.state + KNOWN, atol=1e-6)


def test_what_is_learned_are_deltas_of_each_timestep_s_own_state(absolute_dataset, cache, example_parts):
    data = Dataset.open(absolute_dataset)
    policy = known(data, "delta")
    batch = WindowDataset(data, policy.window, cache=cache).batch([0, 5])
    policy.normalize_action.scale.fill_(1.0)
    actions, state = batch["target"]["actions"], batch["observation"]["state"]
    valid = batch["target"]["actions_valid"][..., None].expand_as(actions)
    error = (actions - state[:, :, None] - torch.from_numpy(KNOWN)).clamp(-1.5, 1.5).square()
    _, terms = policy(batch)
    torch.testing.assert_close(terms["arm"], error[valid].mean(), rtol=1e-5, atol=1e-9)
