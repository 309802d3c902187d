import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import DataLoader

from forehand.data import frames as frames_module
from forehand.data.features import read_contract, write_contract
from forehand.data.windows import WindowDataset, describe
from forehand.errors import ContractMismatch, DatasetError

# Frame i has the state and the action i, and the gray level 20 + 10 i; episodes start at frames 0, 7, 12 (see conftest).
Write = Callable[..., Path]


def windows(root: Any, **changes: Any) -> WindowDataset:
    options: dict[str, Any] = {"history": 4, "chunk": 3, "horizon": 2, "image_size": (24, 32)}
    return WindowDataset(root, **(options | changes))


def shown(images: torch.Tensor) -> list[int]:
    """Which frames of the dataset a run of gray images (T, H, W, 3) shows."""
    return [round((float(level) - 20) / 10) for level in images.float().mean(dim=(1, 2, 3))]


def test_a_window_inside_an_episode(small_dataset: Path):
    sample = windows(small_dataset)[1]
    observation, target = sample["observation"], sample["target"]
    assert shown(observation["images.static"]) == [1, 2, 3, 4]
    assert observation["images.static"].shape == (4, 24, 32, 3)
    assert observation["images.static"].dtype == torch.uint8
    assert observation["state"][:, 0].tolist() == [1, 2, 3, 4]
    assert observation["instruction"] == "lift the red block"
    assert shown(target["future.static"]) == [3, 4, 5, 6]
    assert target["actions"][..., 0].tolist() == [[1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]
    for mask in ("valid", "future_valid", "actions_valid"):
        assert target[mask].all()


def test_a_window_past_the_end_says_what_does_not_exist(small_dataset: Path):
    sample = windows(small_dataset)[10]  # the last frame but one of the second episode, which ends with frame 11
    observation, target = sample["observation"], sample["target"]
    assert observation["instruction"] == "push the blue block"
    assert target["valid"].tolist() == [True, True, False, False]
    assert target["future_valid"].tolist() == [False, False, False, False]
    assert target["actions_valid"][0].tolist() == [True, True, False]
    assert target["actions_valid"][1].tolist() == [True, False, False]
    assert not target["actions_valid"][2:].any()
    assert observation["state"][:, 0].tolist() == [10, 11, 11, 11]  # and nothing of the next episode shows through
    assert shown(target["future.static"]) == [11, 11, 11, 11]
    assert target["actions"].max() == 11


def test_there_is_a_window_from_every_frame(small_dataset: Path):
    dataset = windows(small_dataset)
    assert len(dataset) == 21
    assert [int(sample["observation"]["state"][0, 0]) for sample in dataset] == list(range(21))


def test_windows_can_be_limited_to_some_episodes(small_dataset: Path):
    dataset = windows(small_dataset, episodes=[1])
    assert dataset.episode_count == 3
    assert [int(sample["observation"]["state"][0, 0]) for sample in dataset] == [7, 8, 9, 10, 11]
    with pytest.raises(DatasetError, match=r"there are 3 episodes; \[7\]"):
        windows(small_dataset, episodes=[7])


def test_a_batch_is_its_samples(small_dataset: Path):
    dataset = windows(small_dataset)
    batch = dataset.batch([3, 10])
    loaded = next(iter(DataLoader(torch.utils.data.Subset(dataset, [3, 10]), batch_size=2, collate_fn=dataset.collate)))
    for other in (loaded, dataset.collate([dataset[3], dataset[10]])):
        for side, values in batch.items():
            for key, value in values.items():
                assert torch.equal(value, other[side][key]) if torch.is_tensor(value) else value == other[side][key]


@pytest.mark.parametrize("dtype", ["image", "video"])
def test_frames_are_those_that_lerobots_reader_gives(dtype: str, tmp_path: Path, write: Write):
    root = write(tmp_path / "data", dtype=dtype)
    dataset = windows(root, history=1, image_size=(48, 64))
    theirs = LeRobotDataset("tests/small", root=root)
    for index in (0, 6, 7, 20):
        item, sample = theirs[index], dataset[index]["observation"]
        for camera in ("static", "wrist"):
            expected = item[f"observation.images.{camera}"].permute(1, 2, 0) * 255
            assert (sample[f"images.{camera}"][0].float() - expected).abs().max() <= 3
        assert torch.equal(sample["state"][0], item["observation.state"])
        assert sample["instruction"] == item["task"]


def test_the_future_never_reaches_an_input(tmp_path: Path, write: Write):
    # Images as PNG, because a video encoder looks ahead itself.
    one = windows(write(tmp_path / "one", dtype="image"))
    other = windows(write(tmp_path / "other", dtype="image", changed_from=16))
    for start in range(12, 21):
        a, b = one[start], other[start]
        before = max(0, 16 - start)  # timesteps of this window that lie before the change
        for key in ("images.static", "images.wrist", "state"):
            assert torch.equal(a["observation"][key][:before], b["observation"][key][:before])
            assert not torch.equal(a["observation"][key], b["observation"][key]) or start + 4 <= 16
        if start + 4 <= 16:
            assert a["observation"]["instruction"] == b["observation"]["instruction"]
    targets = [d[12]["target"] for d in (one, other)]
    assert not torch.equal(targets[0]["actions"], targets[1]["actions"])
    assert not torch.equal(targets[0]["future.static"], targets[1]["future.static"])


def test_decoding_is_done_once(small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    first = windows(small_dataset)[5]["observation"]["images.wrist"]

    def never(path: Path) -> None:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(frames_module.video, "decode", never)
    assert torch.equal(windows(small_dataset)[5]["observation"]["images.wrist"], first)
    with pytest.raises(AssertionError, match="decoded again"):
        windows(small_dataset, image_size=12)


def test_an_interrupted_decoding_is_done_again(small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    real = frames_module.resize
    calls = iter([real])  # the first camera is decoded, the second is not

    def fails(*args: Any) -> Any:
        return next(calls, None)(*args)  # type: ignore[misc]

    monkeypatch.setattr(frames_module, "resize", fails)
    with pytest.raises(TypeError):
        windows(small_dataset)
    monkeypatch.setattr(frames_module, "resize", real)
    assert shown(windows(small_dataset)[0]["observation"]["images.static"]) == [0, 1, 2, 3]
    assert not list(frames_module.cache_folder().rglob("*.partial"))


READER = """
import sys
from pathlib import Path
from forehand.data.frames import open_frames
print(open_frames(Path(sys.argv[1]), "observation.images.static", (24, 32)).sum(dtype=int))
"""


def test_processes_that_come_at_once_share_one_decoding(small_dataset: Path):
    command = [sys.executable, "-c", READER, str(small_dataset)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = {reader.communicate()[0].split()[-1] for reader in readers}
    assert len(list(frames_module.cache_folder().rglob("*.npy"))) == 1
    frames = frames_module.open_frames(small_dataset, "observation.images.static", (24, 32))
    assert sums == {str(frames.sum(dtype=int))}


def test_a_changed_dataset_is_decoded_again(tmp_path: Path, write: Write):
    root = write(tmp_path / "data", dtype="image")
    windows(root)
    changed = write(tmp_path / "changed", dtype="image", changed_from=0)
    for table in (root / "data").rglob("*.parquet"):
        table.write_bytes((changed / table.relative_to(root)).read_bytes())
    assert shown(windows(root)[0]["observation"]["images.wrist"]) == [0, 1, 2, 3]  # they changed places


def test_statistics_are_those_of_all_frames(small_dataset: Path):
    statistics = windows(small_dataset).statistics
    values = np.arange(21.0)
    assert set(statistics) == {"observation.state", "action"}
    for key, size in (("observation.state", 4), ("action", 3)):
        for name, expected in {
            "mean": values.mean(),
            "std": values.std(),
            "min": 0.0,
            "max": 20.0,
            "q01": np.quantile(values, 0.01),
            "q99": np.quantile(values, 0.99),
        }.items():
            np.testing.assert_allclose(statistics[key][name], np.full(size, expected))


def test_a_dataset_is_described_without_decoding_it(small_dataset: Path):
    dataset = windows(small_dataset)
    for file in frames_module.cache_folder().rglob("*.npy"):
        file.unlink()
    contract, statistics = describe(small_dataset)
    assert contract == dataset.contract
    np.testing.assert_equal(statistics, dataset.statistics)
    assert not list(frames_module.cache_folder().rglob("*.npy"))
    with pytest.raises(DatasetError, match="No dataset was given"):
        describe([])


def test_datasets_are_mixed(small_dataset: Path, tmp_path: Path, write: Write):
    other = write(tmp_path / "other", changed_from=0, lengths=(4, 6))
    mixed = windows([small_dataset, other])
    assert (len(mixed), mixed.episode_count) == (31, 5)
    batch = mixed.batch([20, 21, 3])["observation"]
    assert batch["state"][:, 0, 0].tolist() == [20, 100, 3]
    assert shown(batch["images.static"][:, 0]) == [20, 22, 3]  # 255 - 20 is the gray level of frame 21.5
    assert batch["instruction"][1] == "lift the red block"
    assert mixed.fingerprint != windows(small_dataset).fingerprint
    assert mixed.statistics["action"]["max"].tolist() == [109.0] * 3


def test_datasets_that_do_not_fit_are_not_mixed(small_dataset: Path, tmp_path: Path, write: Write):
    other = write(tmp_path / "other")
    write_contract(other, dataclasses.replace(read_contract(other), rate=10.0))
    with pytest.raises(ContractMismatch, match=r"control rate \(Hz\): needed 20.0, offered 10.0"):
        windows([small_dataset, other])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ["front"]}, "no camera 'front'; its cameras are"),
        ({"history": 0}, "history ≥ 1, not 0"),
        ({"horizon": -1}, "horizon ≥ 0, not -1"),
    ],
)
def test_impossible_windows_are_refused(small_dataset: Path, changes: dict[str, Any], message: str):
    with pytest.raises(DatasetError, match=message):
        windows(small_dataset, **changes)


def test_missing_frames_are_reported(tmp_path: Path, write: Write):
    root = write(tmp_path / "data")
    video = next((root / "videos/observation.images.static").rglob("*.mp4"))
    short = write(tmp_path / "short", lengths=(7,))
    video.write_bytes(next((short / "videos/observation.images.static").rglob("*.mp4")).read_bytes())
    with pytest.raises(DatasetError, match=r"14 of 21 frames of 'observation\.images\.static' are missing"):
        windows(root)


def test_without_a_horizon_there_is_no_future(small_dataset: Path):
    assert set(windows(small_dataset, horizon=None, cameras=["wrist"])[0]["target"]) == {
        "valid",
        "actions",
        "actions_valid",
    }
