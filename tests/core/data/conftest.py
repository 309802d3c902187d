"""Small datasets, written with LeRobot's own writer, so that what we read was not written by us."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from forehand import Camera, Contract, Field
from forehand.data.features import to_features

LENGTHS = (7, 5, 9)
TASKS = ("lift the red block", "push the blue block", "lift the red block")
CONTRACT = Contract(
    cameras=(Camera("static", 48, 64, "static"), Camera("wrist", 48, 64, "wrist")),
    state=(Field("position", 3, unit="m"), Field("gripper", 1, gripper="open")),
    action=(Field("position", 3, unit="m", mode="delta"),),
    rate=20.0,
)

Write = Callable[..., Path]


def gray(frame: int) -> int:
    """The gray level of a frame: far enough apart to be told from its neighbours after lossy compression."""
    return 20 + 10 * frame


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREHAND_CACHE", str(tmp_path / "cache"))


def write_dataset(
    root: Path, *, dtype: str = "video", changed_from: int | None = None, lengths: tuple[int, ...] = LENGTHS
) -> Path:
    """Frame i of the dataset is ``gray(i)`` in the static camera, and its state and action are i.

    From frame ``changed_from`` on, everything is different.
    """
    features = {k: f | {"dtype": dtype} if f["dtype"] == "video" else f for k, f in to_features(CONTRACT).items()}
    dataset = LeRobotDataset.create(
        "tests/small", 20, features, root=root, use_videos=dtype == "video", rgb_encoder=RGBEncoderConfig(vcodec="h264")
    )
    frame = 0
    for length, task in zip(lengths, TASKS, strict=False):
        for _ in range(length):
            value = frame if changed_from is None or frame < changed_from else 100 + frame
            level = gray(frame) if value == frame else 255 - gray(frame)
            dataset.add_frame(
                {
                    "observation.images.static": np.full((48, 64, 3), level, np.uint8),
                    "observation.images.wrist": np.full((48, 64, 3), 255 - level, np.uint8),
                    "observation.state": np.full(4, value, np.float32),
                    "action": np.full(3, value, np.float32),
                    "task": task,
                }
            )
            frame += 1
        dataset.save_episode(parallel_encoding=False)  # which would fork a process that has threads
    dataset.finalize()
    return root


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of 7, 5 and 9 frames, with videos; nobody may change it."""
    return write_dataset(tmp_path_factory.mktemp("datasets") / "small")


@pytest.fixture
def write() -> Write:
    """Writes more datasets."""
    return write_dataset
