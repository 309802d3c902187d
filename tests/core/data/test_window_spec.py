"""Windows by offsets for each key, and the windows of causal models, which are a case of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from forehand.data.dataset import Dataset
from forehand.data.features import read_contract, write_contract
from forehand.data.lerobot.frames import open_frames
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, DatasetError

# Frame i has the state and the action i, and the gray level 20 + 10 i; episodes start at frames 0, 7, 12 (see conftest).
Write = Callable[..., Path]
SIZE = (24, 32)
SPEC = WindowSpec(
    observation={"images.static": (-1, 0), "images.wrist": (0,), "state": (-2, 0), "action": (-1,)},
    target={"action": range(-1, 4), "images.static": (3,), "state": (1,)},
    image_size=SIZE,
)


def shown(images: torch.Tensor) -> list[int]:
    """Which frames of the dataset a run of gray images (n, H, W, 3) shows."""
    return [round((float(level) - 20) / 10) for level in images.float().mean(dim=(1, 2, 3))]


def numbers(values: torch.Tensor) -> list[int]:
    """Which frames the states or actions (n, D) are of."""
    return [int(value) for value in values[:, 0]]


# ---- offsets ---------------------------------------------------------------------------------------------------------


def test_each_key_has_the_frames_at_its_own_offsets(small_dataset: Path):
    sample = WindowDataset(Dataset.open(small_dataset), SPEC)[3]
    observation, target = sample["observation"], sample["target"]
    assert shown(observation["images.static"]) == [2, 3]
    assert observation["images.static"].shape == (2, *SIZE, 3)
    assert observation["images.static"].dtype == torch.uint8
    assert observation["images.wrist"].shape == (1, *SIZE, 3)
    assert numbers(observation["state"]) == [1, 3]
    assert numbers(observation["action"]) == [2]
    assert observation["instruction"] == "lift the red block"
    assert numbers(target["action"]) == [2, 3, 4, 5, 6]
    assert shown(target["images.static"]) == [6]
    assert numbers(target["state"]) == [4]
    masks = {side: {k for k in sample[side] if k.endswith("_valid")} for side in sample}
    assert masks == {
        "observation": {"images.static_valid", "state_valid", "action_valid"},  # the anchor itself always exists
        "target": {"action_valid", "images.static_valid", "state_valid"},
    }
    assert all(sample[side][key].all() and sample[side][key].dtype == torch.bool for side in masks for key in masks[side])


def test_what_lies_before_the_episode_is_its_first_frame_and_marked(small_dataset: Path):
    sample = WindowDataset(Dataset.open(small_dataset), SPEC)[7]  # the first frame of the second episode
    observation, target = sample["observation"], sample["target"]
    assert shown(observation["images.static"]) == [7, 7]
    assert observation["images.static_valid"].tolist() == [False, True]
    assert numbers(observation["state"]) == [7, 7]
    assert observation["state_valid"].tolist() == [False, True]
    assert observation["action_valid"].tolist() == [False]
    assert numbers(target["action"]) == [7, 7, 8, 9, 10]
    assert target["action_valid"].tolist() == [False, True, True, True, True]


def test_what_lies_behind_the_episode_is_its_last_frame_and_marked(small_dataset: Path):
    sample = WindowDataset(Dataset.open(small_dataset), SPEC)[10]  # the last frame but one of the second episode
    target = sample["target"]
    assert numbers(target["action"]) == [9, 10, 11, 11, 11]
    assert target["action_valid"].tolist() == [True, True, True, False, False]
    assert shown(target["images.static"]) == [11]
    assert target["images.static_valid"].tolist() == [False]
    assert target["state_valid"].tolist() == [True]


def test_no_offset_reaches_another_episode(small_dataset: Path):
    wide = WindowSpec(observation={"state": range(-30, 1)}, target={"action": range(-30, 31)})
    data = Dataset.open(small_dataset)
    for index, sample in enumerate(WindowDataset(data, wide)):
        here = np.flatnonzero(data.episodes.episode == data.episodes.episode[index])
        actions, valid = sample["target"]["action"][:, 0], sample["target"]["action_valid"]
        assert set(actions.tolist()) == set(here)
        assert actions[valid].tolist() == here.tolist()
        assert sample["observation"]["state"][:, 0].max() == index


def test_windows_of_offsets_are_anchored_at_every_frame_of_the_chosen_episodes(small_dataset: Path):
    dataset = WindowDataset(Dataset.open(small_dataset), SPEC, episodes=[1])
    assert [numbers(sample["target"]["action"])[1] for sample in dataset] == [7, 8, 9, 10, 11]


def test_a_batch_of_offsets_is_its_samples(small_dataset: Path):
    dataset = WindowDataset(Dataset.open(small_dataset), SPEC)
    batch = dataset.batch([3, 10])
    loaded = next(iter(DataLoader(torch.utils.data.Subset(dataset, [3, 10]), batch_size=2, collate_fn=dataset.collate)))
    for side, values in batch.items():
        assert values.keys() == loaded[side].keys()
        for key, value in values.items():
            assert torch.equal(value, loaded[side][key]) if torch.is_tensor(value) else value == loaded[side][key]


def test_images_keep_their_own_size_where_none_is_given(small_dataset: Path):
    spec = WindowSpec(observation={"images.static": (0,)}, target={"future.static": (2,), "action": (0,)})
    sample = WindowDataset(Dataset.open(small_dataset), spec)[0]
    assert sample["observation"]["images.static"].shape == (1, 48, 64, 3)
    assert sample["target"]["future.static"].shape == (48, 64, 3)
    assert sample["target"]["future_valid"].item()


def test_offsets_over_several_datasets(small_dataset: Path, tmp_path: Path, write: Write):
    other = write(tmp_path / "other", lengths=(4, 6))
    batch = WindowDataset(Dataset.open([small_dataset, other]), SPEC).batch([20, 21])
    assert shown(batch["observation"]["images.static"][:, 0]) == [19, 0]
    assert batch["observation"]["images.static_valid"].tolist() == [[True, True], [False, True]]
    assert shown(batch["target"]["images.static"][:, 0]) == [20, 3]
    assert batch["target"]["images.static_valid"].tolist() == [[False], [True]]


# ---- causal windows ----------------------------------------------------------------------------------------------------


def documented(root: Path, start: int, history: int, chunk: int, horizons: Sequence[int] | None) -> dict[str, Any]:
    """One causal window of a dataset, number by number, as WindowDataset documents it."""
    episodes = Dataset.open(root).episodes
    end = int(episodes.end[start])
    steps = [start + t for t in range(history)]
    inside = [min(step, end - 1) for step in steps]
    sample: dict[str, Any] = {
        "observation.state": np.stack([episodes.states[i] for i in inside]),
        "target.valid": np.array([step < end for step in steps]),
        "target.actions": np.stack(
            [np.stack([episodes.actions[min(step + k, end - 1)] for k in range(chunk)]) for step in steps]
        ),
        "target.actions_valid": np.array([[step + k < end for k in range(chunk)] for step in steps]),
    }
    if horizons:
        exists = np.array([[step + k < end for k in horizons] for step in steps])
        sample["target.future_valid"] = exists[:, 0] if len(horizons) == 1 else exists
    for camera in ("static", "wrist"):
        frames = open_frames(root, f"observation.images.{camera}", SIZE)
        sample[f"observation.images.{camera}"] = np.stack([frames[i] for i in inside])
        if horizons:
            ahead = np.stack([np.stack([frames[min(step + k, end - 1)] for k in horizons]) for step in steps])
            sample[f"target.future.{camera}"] = ahead[:, 0] if len(horizons) == 1 else ahead
    return sample


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "horizons"), [(None, None), (2, (2,)), ((2,), (2,)), (0, (0,)), ((1, 4, 9), (1, 4, 9)), ((), None)]
)
@pytest.mark.parametrize("as_spec", [True, False])
def test_causal_windows_are_as_documented_to_the_bit(small_dataset: Path, given: Any, horizons: Any, as_spec: bool):
    options: dict[str, Any] = {"history": 4, "chunk": 3, "image_size": SIZE}
    if as_spec:
        window: Any = WindowSpec.causal(**options, horizons=given, cameras=("static", "wrist"))
    else:
        window = {**options, "horizon": given}
    dataset = WindowDataset(Dataset.open(small_dataset), window)
    assert len(dataset) == 21
    for start in range(21):
        sample = {f"{side}.{key}": value for side, values in dataset[start].items() for key, value in values.items()}
        assert sample.pop("observation.instruction") in ("lift the red block", "push the blue block")
        expected = documented(small_dataset, start, 4, 3, horizons)
        assert sample.keys() == expected.keys()
        for key, value in expected.items():
            assert sample[key].numpy().dtype == value.dtype, key
            np.testing.assert_array_equal(sample[key].numpy(), value, err_msg=key)


def test_options_of_a_window_are_those_of_a_causal_one(small_dataset: Path):
    data = Dataset.open(small_dataset)
    options: dict[str, Any] = {"history": 2, "chunk": 1, "image_size": 8}
    spec = WindowSpec.causal(**options, cameras=("static", "wrist"), horizons=3)
    for window in ({**options, "horizon": 3}, {**options, "horizons": (3,)}, {**options, "horizons": 3}):
        assert WindowDataset(data, window).spec == WindowDataset(data, **window).spec == spec
    assert WindowDataset(data, options).spec == WindowSpec.causal(**options, cameras=("static", "wrist"))


# ---- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"target": {"actoin": (0,)}}, r"target has no key 'actoin'\. Did you mean 'action'"),
        ({"observation": {"images.": (0,)}}, "observation has no key 'images.'"),
        ({"target": {"action": ()}}, r"target\.action needs whole numbers .* not \(\)"),
        ({"target": {"action": 3}}, r"target\.action needs whole numbers .* not 3"),
        ({"target": {"state": (0.5,)}}, r"target\.state needs whole numbers"),
        ({"observation": {"state": (0, 1)}}, r"observation\.state has the offsets \(0, 1\), but .* up to 0 only"),
        ({"observation": {"action": (-1, 0)}}, r"observation\.action .* up to -1 only"),
        ({"observation": {"state": (0, 2)}, "timesteps": 2}, "have 0 to 1 there"),
        ({"timesteps": 0}, "timesteps must be a whole number from 1 to 4096, not 0"),
        ({"target": {"future.a": (1,), "future.b": (2,)}}, r"future\.b .*share one mask"),
        ({"image_size": 0}, "image_size is one side"),
        ({"resize": "aera"}, "unknown resize 'aera'. Did you mean 'area'"),
    ],
)
def test_a_specification_that_cannot_be_is_refused(parts: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError, match=message):
        WindowSpec(**{"observation": {}, **parts})


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"chunk": 1}, "history must be given"),
        ({"history": 1, "chunk": 1, "hoirzon": 2}, "no option 'hoirzon'. Did you mean 'horizon'"),
        ({"history": 1, "chunk": 1, "horizon": 2, "horizons": 2}, "one option"),
        ({"history": 1, "chunk": 1, "horizons": (2, 2)}, "different horizons"),
        ([1, 2], "WindowSpec or a mapping of options"),
    ],
)
def test_a_window_that_cannot_be_is_refused(small_dataset: Path, window: Any, message: str):
    with pytest.raises(ConfigurationError, match=message):
        WindowDataset(Dataset.open(small_dataset), window)


def test_a_window_is_given_once_and_of_cameras_that_exist(small_dataset: Path):
    data = Dataset.open(small_dataset)
    with pytest.raises(ConfigurationError, match="beside it history"):
        WindowDataset(data, SPEC, history=2)
    with pytest.raises(DatasetError, match="no camera 'front'; its cameras are"):
        WindowDataset(data, WindowSpec(observation={"images.front": (0,)}))


# ---- oversampling ------------------------------------------------------------------------------------------------------


def test_the_gripper_is_looked_for_where_actions_are_targets(tmp_path: Path, write: Write):
    root = write(tmp_path / "data", lengths=(6,))
    contract = read_contract(root)
    write_contract(root, replace(contract, action=(replace(contract.action[0], gripper="open"),)))
    data = Dataset.open(root)  # the command changes sides, which are those of 2.5, between frames 2 and 3
    spec = WindowSpec(observation={"images.static": (0,)}, target={"action": (-1, 0, 1)}, image_size=8)
    assert spec.span == (-1, 1)
    assert WindowDataset(data, spec).gripper_transition_mask().tolist() == [False, False, True, True, False, False]
    causal = WindowDataset(data, history=2, chunk=5, image_size=8)
    assert causal.gripper_transition_mask().tolist() == [False, False, True, False, False, False]
