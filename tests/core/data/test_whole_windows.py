"""Whole windows lie inside their episode with all that they hold."""

from pathlib import Path
from typing import Any

import pytest

from forehand.data.dataset import Dataset
from forehand.data.embodiments import EmbodimentDatasets
from forehand.data.frame_cache import cache_folder
from forehand.data.whole_windows import WholeWindows
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, DatasetError

# Episodes of 7, 5 and 9 frames; the state of frame i is i (see conftest).
LENGTHS = (7, 5, 9)
SEER: dict[str, Any] = {"history": 2, "chunk": 3, "horizon": 3, "image_size": 8}  # T + k = 5 frames


def starts(dataset: WindowDataset) -> list[int]:
    return [int(sample["observation"]["state"][0, 0]) for sample in dataset]


def expected(frames: int, *, skip_last: bool = False) -> list[int]:
    """By the published rule: L - frames + 1 starts in an episode of L frames, or one less."""
    found, first = [], 0
    for length in LENGTHS:
        found += range(first, first + length - frames + 1 - skip_last)
        first += length
    return found


@pytest.mark.parametrize("skip_last", [False, True])
def test_a_causal_window_is_as_long_as_its_inputs_and_targets(small_dataset: Path, skip_last: bool):
    dataset = WindowDataset(Dataset.open(small_dataset), SEER, whole=WholeWindows(skip_last=skip_last))
    assert starts(dataset) == expected(5, skip_last=skip_last)
    for sample in dataset:
        for mask in ("valid", "future_valid", "actions_valid"):
            assert sample["target"][mask].all()


def test_all_windows_that_are_left_out_are_padded(small_dataset: Path):
    data = Dataset.open(small_dataset)
    whole = starts(WindowDataset(data, SEER, whole=WholeWindows()))
    for start, sample in enumerate(WindowDataset(data, SEER)):
        masks = [sample["target"][mask].all() for mask in ("valid", "future_valid", "actions_valid")]
        assert all(masks) == (start in whole)


def test_fewer_frames_are_enough_where_the_last_timesteps_give_no_loss(small_dataset: Path):
    options = {**SEER, "history": 5}
    dataset = WindowDataset(Dataset.open(small_dataset), options, whole=WholeWindows(frames=5, skip_last=True))
    assert starts(dataset) == expected(5, skip_last=True)
    for sample in dataset:
        assert sample["target"]["valid"].all()
        assert sample["target"]["future_valid"][:2].all()
        assert sample["target"]["actions_valid"][:3].all()


def test_windows_by_offsets_reach_from_the_first_to_the_last(small_dataset: Path):
    spec = WindowSpec(
        observation={"images.static": (-1, 0), "state": (0,)}, target={"action": range(-2, 3)}, image_size=8
    )
    assert (spec.input_reach, spec.reach) == ((-1, 0), (-2, 2))
    dataset = WindowDataset(Dataset.open(small_dataset), spec, whole=WholeWindows())
    assert starts(dataset) == [start + 2 for start in expected(5)]
    assert all(s["target"]["action_valid"].all() and s["observation"]["images.static_valid"].all() for s in dataset)


def test_episodes_are_chosen_beside(small_dataset: Path):
    dataset = WindowDataset(Dataset.open(small_dataset), SEER, episodes=[0, 2], whole=WholeWindows())
    assert starts(dataset) == [0, 1, 2, *range(12, 17)]


def test_every_embodiment_has_its_whole_windows(small_dataset: Path):
    data = EmbodimentDatasets.open({"arm": small_dataset})
    assert len(data.windows(SEER, whole=WholeWindows())) == len(expected(5))


def test_windows_that_fit_nowhere_are_refused(small_dataset: Path):
    data = Dataset.open(small_dataset)
    with pytest.raises(DatasetError, match=r"No window of 10 frames .* the longest has 9 frames\. Take shorter"):
        WindowDataset(data, SEER, whole=WholeWindows(frames=10))
    with pytest.raises(DatasetError, match="the longest has 9 frames, and the last window of each is left out"):
        WindowDataset(data, SEER, whole=WholeWindows(frames=9, skip_last=True))
    with pytest.raises(ConfigurationError, match="whole window of 1 frames does not hold its inputs, which are 2"):
        WindowDataset(data, SEER, whole=WholeWindows(frames=1))
    with pytest.raises(ConfigurationError, match="frames ≥ 1, not 0"):
        WholeWindows(frames=0)
    assert not list(cache_folder().rglob("*.npy"))  # before anything is decoded
