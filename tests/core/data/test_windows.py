import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from tests.child_process import ChildProcess
from torch.utils.data import DataLoader

from forehand.data import frame_cache
from forehand.data.dataset import Dataset
from forehand.data.features import read_contract, write_contract
from forehand.data.frame_store import shards
from forehand.data.lerobot import frames as frames_module
from forehand.data.lerobot.video_pictures import VideoPictures
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError

# Frame i has the state and the action i, and the gray level 20 + 10 i; episodes start at frames 0, 7, 12 (see conftest).
Write = Callable[..., Path]


def windows(root: Any, **changes: Any) -> WindowDataset:
    options: dict[str, Any] = {"history": 4, "chunk": 3, "horizon": 2, "image_size": (24, 32)}
    return WindowDataset(Dataset.open(root), **(options | changes))


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

    def never(pictures: VideoPictures, numbers: Any) -> None:
        raise AssertionError(f"{pictures.key} was decoded again")

    monkeypatch.setattr(VideoPictures, "read", never)
    assert torch.equal(windows(small_dataset)[5]["observation"]["images.wrist"], first)
    with pytest.raises(AssertionError, match="decoded again"):
        windows(small_dataset, image_size=12)


def test_an_interrupted_decoding_is_done_again(small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    real = shards.resize
    calls = iter([real])  # the first camera is decoded, the second is not

    def fails(*args: Any) -> Any:
        return next(calls, None)(*args)  # type: ignore[misc]

    monkeypatch.setattr(shards, "resize", fails)
    with pytest.raises(TypeError):
        windows(small_dataset)
    monkeypatch.setattr(shards, "resize", real)
    assert shown(windows(small_dataset)[0]["observation"]["images.static"]) == [0, 1, 2, 3]
    assert not list(frame_cache.cache_folder().rglob("*.partial"))


READER = """
import sys
from pathlib import Path
from forehand.data.lerobot.frames import open_frames
print(open_frames(Path(sys.argv[1]), "observation.images.static", (24, 32))[:].sum(dtype=int))
"""


@pytest.mark.slow
def test_processes_that_come_at_once_share_one_decoding(small_dataset: Path):
    command = [sys.executable, "-c", READER, str(small_dataset)]
    readers = [ChildProcess(command, stdout=subprocess.PIPE) for _ in range(3)]
    sums = {reader.finish().stdout.split()[-1] for reader in readers}
    assert len(list(frame_cache.cache_folder().rglob("*.npy"))) == 1
    frames = frames_module.open_frames(small_dataset, "observation.images.static", (24, 32))
    assert sums == {str(frames[:].sum(dtype=int))}


def test_a_changed_dataset_is_decoded_again(tmp_path: Path, write: Write):
    root = write(tmp_path / "data", dtype="image")
    windows(root)
    changed = write(tmp_path / "changed", dtype="image", changed_from=0)
    for table in (root / "data").rglob("*.parquet"):
        table.write_bytes((changed / table.relative_to(root)).read_bytes())
    assert shown(windows(root)[0]["observation"]["images.wrist"]) == [0, 1, 2, 3]  # they changed places


def test_statistics_are_those_of_all_frames(small_dataset: Path):
    statistics = Dataset.open(small_dataset).statistics
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


def test_a_dataset_is_opened_without_decoding_it(small_dataset: Path):
    data = Dataset.open(small_dataset)
    assert data.contract == read_contract(small_dataset)
    assert not list(frame_cache.cache_folder().rglob("*.npy"))
    with pytest.raises(DatasetError, match="No dataset was given"):
        Dataset.open([])


def test_a_training_opens_every_table_once(small_dataset: Path, tmp_path: Path, write: Write, monkeypatch):
    opened: Counter[Path] = Counter()
    for kind in (pq.ParquetFile, pq.ParquetDataset):

        def count(self, path, *given, original=kind.__init__, **options):
            opened[Path(path)] += 1
            original(self, path, *given, **options)

        monkeypatch.setattr(kind, "__init__", count)
    other = write(tmp_path / "other", lengths=(4,))
    opened.clear()
    data = Dataset.open([small_dataset, other])
    for _ in range(2):  # with videos to be decoded, and with decoded frames
        dataset = WindowDataset(data, history=2, chunk=1, horizon=1, image_size=8)
    assert len(dataset) == len(data.episodes) == 25
    assert data.statistics["action"]["count"] == 25
    assert opened == {file: 1 for root in (small_dataset, other) for file in root.rglob("*.parquet")}


def test_datasets_are_mixed(small_dataset: Path, tmp_path: Path, write: Write):
    other = write(tmp_path / "other", changed_from=0, lengths=(4, 6))
    mixed, data = windows([small_dataset, other]), Dataset.open([small_dataset, other])
    assert (len(mixed), mixed.episode_count) == (31, 5)
    batch = mixed.batch([20, 21, 3])["observation"]
    assert batch["state"][:, 0, 0].tolist() == [20, 100, 3]
    assert shown(batch["images.static"][:, 0]) == [20, 22, 3]  # 255 - 20 is the gray level of frame 21.5
    assert batch["instruction"][1] == "lift the red block"
    assert data.fingerprint != Dataset.open(small_dataset).fingerprint
    assert data.statistics["action"]["max"].tolist() == [109.0] * 3


def test_datasets_that_do_not_fit_are_not_mixed(small_dataset: Path, tmp_path: Path, write: Write):
    other = write(tmp_path / "other")
    write_contract(other, dataclasses.replace(read_contract(other), rate=10.0))
    with pytest.raises(ContractMismatch, match=r"control rate \(Hz\): needed 20.0, offered 10.0"):
        windows([small_dataset, other])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"cameras": ["front"]},
            DatasetError,
            r"no camera 'front'; its cameras are \['static', .*cameras: \{front: static\}.*null\}",
        ),
        ({"history": 0}, ConfigurationError, "history must be a whole number from 1 to 4096, not 0"),
        ({"horizon": -1}, ConfigurationError, "horizon must be a whole number, at least 0, not -1"),
    ],
)
def test_impossible_windows_are_refused(
    small_dataset: Path, changes: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
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


# ---- videos that are not what the tables say -----------------------------------------------------------------------

STATIC = "observation.images.static"


def video_of(root: Path) -> Path:
    return next((root / "videos" / STATIC).rglob("*.mp4"))


def encode(path: Path, times: Any, step: int = 10) -> None:
    """A video whose frame i has the gray level 20 + ``step`` · i, and comes at ``times[i]`` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", 1000, options={"g": "2", "crf": "18", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + step * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


EVEN = np.arange(21) / 20


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (EVEN * 1.1, r"at its frame 5 .* the timestamps drift: frames are 55\.\d\d ms apart, where 50\.00 ms are due"),
        (EVEN + 0.2, r"at its frame 0 .* the first frame comes at 0\.200 s instead of 0 s"),
        (np.delete(EVEN, 9), r"at its frame 9 .* 0\.100 s pass before the next frame, where 0\.050 s are due"),
    ],
)
def test_a_video_at_another_pace_says_how(tmp_path: Path, write: Write, times: Any, message: str):
    root = write(tmp_path / "data")
    encode(video_of(root), times)
    with pytest.raises(DatasetError, match=message) as error:
        windows(root)
    assert "file-000.mp4" in str(error.value)
    assert "Fetch" not in str(error.value)


def test_the_nearest_frame_in_time_is_taken(tmp_path: Path, write: Write):
    root = write(tmp_path / "data")
    encode(video_of(root), np.repeat(EVEN, 2) + np.tile([0, 0.022], 21), step=5)
    assert shown(windows(root, cameras=["static"])[0]["observation"]["images.static"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_truncated_video_is_named(tmp_path: Path, write: Write, left: int):
    root = write(tmp_path / "data")
    video = video_of(root)
    video.write_bytes(video.read_bytes()[:left])
    with pytest.raises(DatasetError, match=r"file-000\.mp4 (cannot be decoded|ends after|holds no video)"):
        windows(root)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, write: Write):
    root = write(tmp_path / "data", dtype="image")
    table = pq.read_table(next((root / "data").rglob("*.parquet")))
    rows = table[STATIC].to_pylist()
    rows[4] = {"bytes": None, "path": "/etc/hostname"}
    column = pa.array(rows, table.schema.field(STATIC).type)
    table = table.set_column(table.column_names.index(STATIC), table.schema.field(STATIC), column)
    pq.write_table(table, next((root / "data").rglob("*.parquet")))
    with pytest.raises(DatasetError, match=rf"The picture of '{STATIC}' in row 4"):
        windows(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("../{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4", "which is not inside its folder"),
        ("/videos/{video_key}.mp4", "which is not inside its folder"),
        ("videos/{video_key}/{episode}.mp4", "cannot be filled in"),
        ("videos/{video_key.__class__}.mp4", "cannot be filled in"),
        ("videos/{chunk_index:999999999d}.mp4", "cannot be filled in"),
        ("videos/{chunk_index:{file_index}}.mp4", "cannot be filled in"),
        ("videos/{video_key:3d}.mp4", "cannot be filled in"),
        ("videos/{", "cannot be filled in"),
        (None, "lacks None"),
    ],
)
def test_videos_are_looked_for_inside_the_dataset_only(tmp_path: Path, write: Write, template: Any, message: str):
    root = write(tmp_path / "data")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"video_path": template}))
    with pytest.raises(DatasetError, match=message):
        windows(root)


def test_two_episodes_in_one_place_of_a_video_are_refused(tmp_path: Path, write: Write):
    root = write(tmp_path / "data")
    path = next((root / "meta/episodes").rglob("*.parquet"))
    table, name = pq.read_table(path), f"videos/{STATIC}/from_timestamp"
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array([0.0, 0.3, 0.6])), path)
    with pytest.raises(DatasetError, match=r"Two episodes claim the same frames of .*file-000\.mp4"):
        windows(root)


# ---- the cache -----------------------------------------------------------------------------------------------------


def maps() -> list[Path]:
    return sorted(frame_cache.cache_folder().rglob("*.npy"))


def test_what_is_not_read_may_change(tmp_path: Path, write: Write):
    root = write(tmp_path / "data")
    windows(root)
    before = maps()
    (root / "meta/stats.json").write_text("{}")
    for file in root.rglob("*.mp4"):
        file.touch()
    windows(root)
    windows(Path(shutil.copytree(root, tmp_path / "elsewhere")))
    assert maps() == before


def test_how_videos_are_read_is_part_of_the_key(tmp_path: Path, write: Write):
    root = write(tmp_path / "data")
    windows(root, cameras=["static"])
    info = json.loads((root / "meta/info.json").read_text())
    (root / "videos/renamed").mkdir()
    for camera in ("static", "wrist"):  # the cameras change places
        video = next((root / f"videos/observation.images.{camera}").rglob("*.mp4"))
        video.rename(root / f"videos/renamed/{'wrist' if camera == 'static' else 'static'}.mp4")
    for camera in ("static", "wrist"):
        target = next((root / f"videos/observation.images.{camera}").iterdir()) / "file-000.mp4"
        (root / f"videos/renamed/{camera}.mp4").rename(target)
    (root / "meta/info.json").write_text(json.dumps(info))
    assert shown(windows(root, cameras=["static"])[0]["observation"]["images.static"])[0] == 22  # 255 - 20


def test_maps_of_earlier_versions_are_used(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch):
    root = write(tmp_path / "data")
    before = windows(root, cameras=["static"])[5]["observation"]["images.static"]
    (path,) = maps()
    former = frames_module._former_key(root, STATIC, (24, 32), "area")
    path.rename(path.parents[1] / f"{former}.npy")
    shutil.rmtree(path.parent)
    monkeypatch.setattr(VideoPictures, "read", None)
    after = windows(root, cameras=["static"])
    assert maps() == [path.parent.with_suffix(".npy")]
    assert torch.equal(after[5]["observation"]["images.static"], before)


@pytest.mark.parametrize("where", ["posix_fallocate", "write"])
def test_a_full_disk_is_reported_and_nothing_stays(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, where: str
):
    root = write(tmp_path / "data")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "posix_fallocate":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(shards, "resize", full)
    with pytest.raises(DatasetError, match=r"need 0\.0 MB in .*frames, which has no room .*FOREHAND_CACHE"):
        windows(root)
    assert not list(frame_cache.cache_folder().rglob("*.partial"))
    assert not maps()


def test_a_disk_that_reserves_no_room_is_written_to(small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert shown(windows(small_dataset)[0]["observation"]["images.static"]) == [0, 1, 2, 3]


def test_what_killed_decodings_left_is_removed(small_dataset: Path):
    folder = frame_cache.cache_folder() / "frames"
    folder.mkdir(parents=True)
    left, going = folder / "left.partial", folder / "going.partial"
    for file in (left, going):
        file.touch()
    with FileLock(going.with_suffix(".lock")):
        windows(small_dataset)
    assert not left.exists()
    assert going.exists()
