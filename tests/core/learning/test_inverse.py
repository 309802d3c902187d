"""Inverse dynamics: the actions between frames, found from images alone."""

import numpy as np
import pytest
import torch

from forehand.compose.inverse import between_frames, recover_actions
from forehand.data.dataset import Dataset
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.inverse import InverseError
from forehand.learning.checkpoint import build_policy, load_policy
from forehand.robot import Observation

from .runs import POLICY, ignore

INVERSE = {
    "history": 3,
    "inverse_dynamics": True,
    "encoders": {"cameras": {"name": "example/images", "cameras": ["static"], "tokens": 2}},
    "backbone": {"name": "example/transformer", "layers": 1, "dropout": 0.0},
    "normalization": {"state": "mean_std", "action": "mean_std"},
    "random_shift": {},
    "token_dropout": {},
}


def test_the_targets_of_a_timestep_are_the_actions_that_led_to_it(begin, slider_dataset, tmp_path):
    policy = begin(tmp_path / "run", **INVERSE).policy
    windows = WindowDataset(Dataset.open(slider_dataset), policy.window, cache=tmp_path)
    table = windows.data.episodes
    batch = windows.batch([0, 4])
    assert batch["target"]["actions"][1, 2].tolist() == table.actions[[4, 5]].tolist()  # at frame 6
    assert between_frames(batch["target"]["actions_valid"]).tolist() == [[False, False], [False, True], [True, True]]

    loss, _ = policy(batch)
    unseen = batch["target"]["actions"].clone()
    unseen[:, 0] += 9  # before the window, and so not to be found
    unseen[:, 1, 0] += 9
    assert torch.equal(policy({**batch, "target": {**batch["target"], "actions": unseen}})[0], loss)
    unseen[:, 1, 1] += 9
    assert not torch.equal(policy({**batch, "target": {**batch["target"], "actions": unseen}})[0], loss)


def test_frames_that_overlapping_windows_share_are_encoded_once(begin, slider_dataset, tmp_path, monkeypatch):
    policy = begin(tmp_path / "run", **INVERSE).policy
    observation = WindowDataset(Dataset.open(slider_dataset), policy.window, cache=tmp_path).batch([0, 1, 2])[
        "observation"
    ]
    found = recover_actions(policy, observation)
    encode, counts = policy.encode, []

    def counted(inputs, *, once):
        counts.append(len(inputs.get("images.static", ())))
        return encode(inputs, once=once)

    monkeypatch.setattr(policy, "encode", counted)
    numbers = torch.arange(3)[:, None] + torch.arange(3)
    torch.testing.assert_close(recover_actions(policy, {**observation, "frames": numbers}), found)
    assert max(counts) == 5


@pytest.mark.slow
def test_actions_that_frames_tell_apart_are_recovered(begin, slider_dataset, tmp_path):
    seen = {"encoders": {"state": {"name": "example/state"}}, "dim": 32}  # the position, which an action changes
    trainer = begin(tmp_path / "run", **{**INVERSE, **seen}, steps=90, batch_size=8, learning_rate=1e-2, log_every=50)
    measure = InverseError(Dataset.open(slider_dataset), trainer.policy.window, 40, cache=tmp_path)
    assert measure(trainer.policy)["position/r_squared"] < 0.3
    trainer.run(ignore)
    found = measure(trainer.policy)
    assert found["position"] < 0.006  # m, of steps up to 0.05 m
    assert found["position/r_squared"] > 0.9


def test_neither_state_nor_instruction_nor_later_frames_change_what_is_found(begin, slider_dataset, tmp_path):
    policy = begin(tmp_path / "run", **INVERSE).policy
    observation = WindowDataset(Dataset.open(slider_dataset), policy.window, cache=tmp_path).batch([0, 3])["observation"]
    found = recover_actions(policy, observation)
    assert found.shape == (2, 3, 2, 2)
    assert policy.training
    other = {**observation, "state": observation["state"] + 1, "instruction": ["go", "stay"]}
    assert torch.equal(recover_actions(policy, other), found)
    images = observation["images.static"].clone()
    images[:, 2] = 0
    changed = recover_actions(policy, {**observation, "images.static": images})
    assert torch.equal(changed[:, :2], found[:, :2])
    assert not torch.equal(changed[:, 2], found[:, 2])


def test_a_checkpoint_finds_the_same_and_drives_no_robot(begin, slider_dataset, tmp_path):
    trainer = begin(tmp_path / "run", **INVERSE, steps=2)
    trainer.run(ignore)
    data = Dataset.open(slider_dataset)
    loaded = load_policy(tmp_path / "run")
    measure = InverseError(data, loaded.window, 5, cache=tmp_path)
    assert measure(loaded) == measure(trainer.policy)
    still = np.zeros((32, 32, 3), np.uint8)
    observation = Observation(images={"static": still, "wrist": still}, state=np.zeros(2, np.float32), time=0.0)
    with pytest.raises(ConfigurationError, match="inverse dynamics: it finds the actions that led"):
        loaded.step([loaded.open("")], [observation])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history": 2}, "Raise policy.history to 3"),
        ({"action_head": None, "world_model": {"name": "example/colour", "cameras": ["static"]}}, "action_head is none"),
        ({"actions": "delta"}, "leave policy.actions out"),
    ],
)
def test_what_cannot_find_actions_is_refused(slider_dataset, changes, message):
    data = Dataset.open(slider_dataset)
    with pytest.raises(ConfigurationError, match=message):
        build_policy(POLICY | INVERSE | changes, data.contract, data.statistics)
