"""Small datasets, written with LeRobot's own writer, so that what we read was not written by us."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


@pytest.fixture
def change_column() -> Callable[[Path, str, Callable[[list], list]], Path]:
    """Puts other values into a column of a dataset's one table."""
    return _change_column


def _change_column(root: Path, key: str, change: Callable[[list], list]) -> Path:
    (file,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(file)
    kind = table.schema.field(key)
    values = pa.array(change(table[key].to_pylist()), kind.type)
    pq.write_table(table.set_column(table.column_names.index(key), kind, values), file)
    return root


DROID_LENGTHS = (5, 4, 6, 4, 3, 5, 4, 5)
LIFT, PUSH = "lift the cup", "push the bowl"
DROID_TASKS = (LIFT, PUSH, "", LIFT, PUSH, LIFT, "", "open the drawer")
DROID_PARAPHRASES = (
    (LIFT, "pick up the cup", ""),
    (PUSH, "", ""),
    ("", "", ""),
    (LIFT, "pick up the cup", "raise the cup"),
    (PUSH, PUSH, ""),
    (LIFT, "take the cup", ""),
    ("", "", "close the lid"),
    ("open the drawer", "", ""),
)
DROID_SUCCESSES = (True, True, True, False, True, True, False, True)
JOINTS = [f"joint_{i}" for i in range(7)]


@pytest.fixture(scope="session")
def droid_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight episodes with the keys of DROID's LeRobot port, and neither ``observation.state`` nor ``action``.

    Of frame i, joint j is i + j / 10 and its action −i − j / 10, the gripper and its action are i % 2, and the levels of
    the two pictures 5 · i and 200 − 5 · i. Nobody may change it.
    """
    image = {"dtype": "image", "shape": (24, 32, 3), "names": ["height", "width", "channels"]}
    numbers = {"dtype": "float32", "shape": (7,), "names": JOINTS}
    word, number = ({"dtype": dtype, "shape": (1,), "names": None} for dtype in ("string", "float32"))
    features = {
        "observation.images.exterior_1_left": image,
        "observation.images.wrist_left": image,
        "observation.state.joint_position": numbers,
        "observation.state.gripper_position": number,
        "action.joint_velocity": numbers,
        "action.gripper_position": {**number, "dtype": "float64"},
        "is_episode_successful": {**number, "dtype": "bool"},
        "camera_id": {**number, "dtype": "int64"},
        "building": word,
        **{f"language_instruction{i}": word for i in ("", "_2", "_3")},
    }
    root = tmp_path_factory.mktemp("datasets") / "droid_like"
    dataset = LeRobotDataset.create("tests/droid_like", 15, features, root=root, use_videos=False)
    frame = 0
    for episode, (length, task) in enumerate(zip(DROID_LENGTHS, DROID_TASKS, strict=True)):
        for _ in range(length):
            joints = frame + np.arange(7, dtype=np.float32) / 10
            sentences = zip(("", "_2", "_3"), DROID_PARAPHRASES[episode], strict=True)
            dataset.add_frame(
                {
                    "observation.images.exterior_1_left": np.full((24, 32, 3), 5 * frame, np.uint8),
                    "observation.images.wrist_left": np.full((24, 32, 3), 200 - 5 * frame, np.uint8),
                    "observation.state.joint_position": joints,
                    "observation.state.gripper_position": np.array([frame % 2], np.float32),
                    "action.joint_velocity": -joints,
                    "action.gripper_position": np.array([frame % 2], np.float64),
                    "is_episode_successful": np.array([DROID_SUCCESSES[episode]]),
                    "camera_id": np.array([episode // 2], np.int64),
                    "building": "AUTOLab" if episode % 2 else "CLVR",
                    **{f"language_instruction{i}": sentence for i, sentence in sentences},
                    "task": task,
                }
            )
            frame += 1
        dataset.save_episode()
    dataset.finalize()
    return root
