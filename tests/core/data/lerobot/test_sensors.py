"""Sensors beside cameras are recorded exactly, into datasets that LeRobot opens, and come back in windows."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from forehand import Camera, Contract, Field, Observation, Sensor
from forehand.conformance.example import measurement
from forehand.data.dataset import Dataset
from forehand.data.features import read_contract, read_info, write_contract
from forehand.data.lerobot import sensors as sensors_module
from forehand.data.lerobot.sensors import decode_depth, encode_depth, open_sensor
from forehand.data.recording import tables
from forehand.data.recording.card import dataset_card
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder, staging_folder
from forehand.data.recording.sensor_files import SensorWriter
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError, NotFinite

DEPTH = Sensor("depth_static", "depth", (24, 32), "uint16", unit="mm", role="static")
METRES = Sensor("depth_wrist", "depth", (16, 16), "float32", unit="m")
CLOUD = Sensor("cloud", "point_cloud", (None, 3), "float32", unit="m", most=8)
FIXED = Sensor("fixed", "point_cloud", (5, 4), "float32")
FORCE = Sensor("force", "vector", (6,), "float32", unit="N")
TOUCH = Sensor("touch", "vector", (1,), "float32")
SENSORS = (DEPTH, METRES, CLOUD, FIXED, FORCE, TOUCH)
CONTRACT = Contract((Camera("static", 16, 16),), (Field("joints", 2),), (Field("joints", 2),), 20.0, SENSORS)
KEYS = {
    "depth_static": "observation.images.depth_static",
    "depth_wrist": "observation.images.depth_wrist",
    **{name: f"observation.sensors.{name}" for name in ("cloud", "fixed", "force", "touch")},
}
LENGTHS = {0: 5, 1: 3, 2: 4}


def observation(episode: int, step: int) -> Observation:
    random = np.random.default_rng([episode, step])
    return Observation(
        images={"static": np.full((16, 16, 3), 10 * step, np.uint8)},
        state=np.array([episode, step], np.float32),
        time=step / 20,
        sensors={sensor.name: measurement(sensor, random) for sensor in SENSORS},
    )


def record(root: Path, *episodes: int, contract: Contract = CONTRACT) -> Path:
    with recording_lock(root):
        require_same_contract(root, contract)
        recorder = Recorder(root, contract)
        for episode in episodes:
            for step in range(LENGTHS[episode]):
                recorder.add(observation(episode, step), np.zeros(2, np.float32))
            recorder.save(episode, "hold")
        commit_episodes(root)
    return root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes 0, 1 and 2, in two recordings; nobody may change it."""
    root = record(tmp_path_factory.mktemp("sensors") / "data", 0, 1)
    return record(root, 2)


FRAMES = [observation(episode, step) for episode, length in LENGTHS.items() for step in range(length)]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_depth_images_are_lossless(dtype: str) -> None:
    sensor = replace(METRES, dtype=dtype, shape=(40, 30))
    depth = np.random.default_rng(0).integers(0, 65536, (40, 30)).astype(dtype) * np.dtype(dtype).type(1)
    if dtype == "float32":
        depth = depth / np.float32(12345)
    depth[0, :3] = 0, 1, 65535
    back = decode_depth(encode_depth(depth), sensor)
    assert back.dtype == depth.dtype
    np.testing.assert_array_equal(back, depth)
    with pytest.raises(ValueError, match=r"\(40, 30\), and by the contract .*\(30, 40\)"):
        decode_depth(encode_depth(depth), replace(sensor, shape=(30, 40)))


def test_what_was_recorded_comes_back_exactly(recorded: Path) -> None:
    assert read_contract(recorded) == CONTRACT
    for sensor in SENSORS:
        frames = open_sensor(recorded, sensor)
        assert frames.shape == (len(FRAMES), *sensor.full_shape)
        for found, sent in zip(frames, FRAMES, strict=True):
            assert found.dtype == sensor.dtype
            np.testing.assert_array_equal(sensor.trimmed(np.array(found)), sent.sensors[sensor.name])


def test_lerobots_own_reader_opens_it_and_sees_the_same(recorded: Path) -> None:
    dataset = LeRobotDataset("tests/sensors", root=recorded)
    assert len(dataset) == len(FRAMES)
    for number, sent in enumerate(FRAMES):
        item = dataset[number]
        for sensor in SENSORS:
            found = item[KEYS[sensor.name]].numpy()
            if sensor.kind == "depth":
                wanted = sent.sensors[sensor.name] * (1000 if sensor.unit == "m" else 1)  # LeRobot's unit is mm
                np.testing.assert_allclose(found.squeeze(), wanted, rtol=1e-6)
            else:
                np.testing.assert_array_equal(found.reshape(sensor.full_shape), sensor.padded(sent.sensors[sensor.name]))
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=2)))
    assert batch["observation.sensors.cloud"].shape == (2, 24)


@pytest.mark.slow
def test_lerobot_puts_it_together_with_others(recorded: Path, tmp_path: Path) -> None:
    aggregate_datasets(["t/a", "t/b"], "t/both", roots=[recorded, recorded], aggr_root=tmp_path / "both")
    both = LeRobotDataset("t/both", root=tmp_path / "both")
    assert len(both) == 2 * len(FRAMES)
    again = both[len(FRAMES)]["observation.images.depth_static"].numpy()
    np.testing.assert_array_equal(again.squeeze(), FRAMES[0].sensors["depth_static"])


def test_lerobot_continues_it(recorded: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(recorded, root)
    dataset = LeRobotDataset.resume("t/more", root=root, rgb_encoder=RGBEncoderConfig(vcodec="h264"))
    seen = FRAMES[0]
    frame = {"observation.images.static": seen.images["static"], "observation.state": seen.state}
    for sensor in SENSORS:
        values = sensor.padded(seen.sensors[sensor.name])
        frame[KEYS[sensor.name]] = values[..., None] if sensor.kind == "depth" else values.reshape(-1)
    dataset.add_frame(frame | {"action": np.zeros(2, np.float32), "task": "hold"})
    dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    for sensor in SENSORS:
        frames = open_sensor(root, sensor)
        assert len(frames) == len(FRAMES) + 1
        np.testing.assert_array_equal(frames[-1], sensor.padded(seen.sensors[sensor.name]))


def test_statistics_are_of_what_was_measured(recorded: Path) -> None:
    found = tables.read_stats(recorded)
    assert set(KEYS.values()) <= set(found)
    depth = found["observation.images.depth_static"]
    seen = np.stack([f.sensors["depth_static"] for f in FRAMES])
    assert np.shape(depth["mean"]) == (1, 1, 1)
    assert depth["count"] == [len(FRAMES)]
    np.testing.assert_allclose(depth["mean"], seen[seen > 0].mean(), rtol=0.02)
    assert np.ravel(depth["min"]) == seen[seen > 0].min()
    points = np.concatenate([f.sensors["cloud"] for f in FRAMES])
    cloud = found["observation.sensors.cloud"]
    np.testing.assert_allclose(cloud["max"], np.tile(points.max(axis=0), 8), rtol=1e-6)
    np.testing.assert_allclose(cloud["min"], np.tile(points.min(axis=0), 8), rtol=1e-6)
    force = np.stack([f.sensors["force"] for f in FRAMES])
    np.testing.assert_allclose(found["observation.sensors.force"]["mean"], force.mean(axis=0), atol=1e-6)


def test_windows_hold_what_a_policy_asks_for(recorded: Path) -> None:
    options = {"history": 3, "chunk": 1, "horizon": None, "image_size": 8}
    plain = WindowDataset(Dataset.open(recorded), **options)
    assert not [key for key in plain[0]["observation"] if key.startswith("sensors.")]
    windows = WindowDataset(Dataset.open(recorded), **options, sensors=["depth_static", "cloud", "force"])
    observed = windows.batch([4, 5])["observation"]
    assert {key for key in observed if key.startswith("sensors.")} == {
        "sensors.depth_static",
        "sensors.cloud",
        "sensors.force",
    }
    for row, frames in enumerate(([4, 4, 4], [5, 6, 7])):  # the first window runs past the end of episode 0
        for step, frame in enumerate(frames):
            for sensor in (DEPTH, CLOUD, FORCE):
                found = observed[f"sensors.{sensor.name}"][row, step].numpy()
                np.testing.assert_array_equal(found, sensor.padded(FRAMES[frame].sensors[sensor.name]))
    with pytest.raises(DatasetError, match=r"no sensor 'dept_static'.* Did you mean 'depth_static'"):
        WindowDataset(Dataset.open(recorded), **options, sensors=["dept_static"])


def test_windows_of_several_datasets(recorded: Path, tmp_path: Path) -> None:
    fewer = replace(CONTRACT, sensors=tuple(replace(s, most=7) if s is CLOUD else s for s in SENSORS))
    roots = [recorded, tmp_path / "fewer"]
    with recording_lock(roots[1]):
        require_same_contract(roots[1], fewer)
        recorder = Recorder(roots[1], fewer)
        seen = observation(7, 0)
        seen = replace(seen, sensors={**seen.sensors, "cloud": np.ones((7, 3), np.float32)})
        recorder.add(seen, np.zeros(2, np.float32))
        recorder.save(0, "hold")
        commit_episodes(roots[1])
    windows = WindowDataset(
        Dataset.open(roots), history=1, chunk=1, horizon=None, image_size=8, sensors=["cloud", "depth_static"]
    )
    observed = windows.batch([0, len(FRAMES)])["observation"]
    np.testing.assert_array_equal(observed["sensors.depth_static"][1, 0].numpy(), seen.sensors["depth_static"])
    np.testing.assert_array_equal(observed["sensors.cloud"][1, 0].numpy(), CLOUD.padded(seen.sensors["cloud"]))
    other = record(tmp_path / "other", 0, contract=replace(CONTRACT, sensors=(replace(DEPTH, unit="cm"),)))
    data = Dataset.open([recorded, other])  # which fit each other, as long as nobody asks for the depth
    with pytest.raises(ContractMismatch, match="sensor 'depth_static' unit"):
        WindowDataset(data, history=1, chunk=1, horizon=None, image_size=8, sensors=["depth_static"])


def test_depth_is_decoded_once_and_an_interruption_leaves_nothing(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sensors_module.decode_depth

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sensors_module, "decode_depth", fails)
    with pytest.raises(KeyboardInterrupt):
        open_sensor(recorded, DEPTH, tmp_path)
    assert not [*tmp_path.rglob("*.npy"), *tmp_path.rglob("*.partial")]
    monkeypatch.setattr(sensors_module, "decode_depth", real)
    first = open_sensor(recorded, DEPTH, tmp_path)
    monkeypatch.setattr(sensors_module, "decode_depth", fails)
    np.testing.assert_array_equal(open_sensor(recorded, DEPTH, tmp_path), first)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_depth_image_is_named_by_its_row(tmp_path: Path) -> None:
    root = record(tmp_path / "data", 0)
    (file,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(file)
    column = table[KEYS["depth_static"]].to_pylist()
    column[3]["bytes"] = column[3]["bytes"][:40]
    position = table.column_names.index(KEYS["depth_static"])
    field = table.schema.field(position)
    pq.write_table(table.set_column(position, field, pa.array(column, field.type)), file)
    with pytest.raises(DatasetError, match=r"'observation\.images\.depth_static' of row 3 of .*file-000\.parquet"):
        open_sensor(root, DEPTH)


def test_a_dataset_without_the_sensor_says_what_it_has(tmp_path: Path) -> None:
    root = record(tmp_path / "data", 0, contract=replace(CONTRACT, sensors=(FORCE,)))
    with pytest.raises(DatasetError, match=r"has no 'observation\.images\.depth_static'; it has .*sensors\.force"):
        open_sensor(root, DEPTH)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        ({"depth_static": None}, ContractMismatch, "sensor 'depth_static' must be uint16"),
        ({"depth_static": np.zeros((24, 33), np.uint16)}, ContractMismatch, r"\(24, 33\)"),
        ({"depth_wrist": np.full((16, 16), np.nan, np.float32)}, NotFinite, "Give 0 where nothing was measured"),
        ({"force": np.full(6, np.inf, np.float32)}, NotFinite, "sensor 'force' is not finite"),
    ],
)
def test_what_breaks_the_contract_is_not_recorded(tmp_path: Path, damage, error, words) -> None:
    recorder = Recorder(tmp_path / "data", CONTRACT)
    seen = observation(0, 0)
    with pytest.raises(error, match=words):
        recorder.add(replace(seen, sensors={**seen.sensors, **damage}), np.zeros(2, np.float32))
    assert len(recorder) == 0
    assert not staging_folder(tmp_path / "data").exists()


def test_a_full_disk_drops_the_running_episode_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = record(tmp_path / "data", 0)
    with recording_lock(root):
        require_same_contract(root, CONTRACT)
        recorder = Recorder(root, CONTRACT)
        recorder.add(observation(1, 0), np.zeros(2, np.float32))

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(SensorWriter, "write", full)
        with pytest.raises(DatasetError, match=r"could not be written .* No space left"):
            recorder.add(observation(1, 1), np.zeros(2, np.float32))
        assert len(recorder) == 0
        assert not [*staging_folder(root).rglob("*.frames")]
        monkeypatch.undo()
    record(root, 1)
    assert len(open_sensor(root, DEPTH)) == LENGTHS[0] + LENGTHS[1]


def test_depth_needs_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ConfigurationError, match=r"PIL\.Image, which is not installed: .*forehand\[recording\]"):
        Recorder(tmp_path / "data", CONTRACT)
    Recorder(tmp_path / "data", replace(CONTRACT, sensors=(FORCE,)))


def test_a_discarded_episode_leaves_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "data", CONTRACT)
    recorder.add(observation(0, 0), np.zeros(2, np.float32))
    assert [*staging_folder(tmp_path / "data").rglob("depth_static.frames")]
    recorder.discard()
    assert not [*staging_folder(tmp_path / "data").iterdir()]


def test_episodes_of_another_contract_are_not_added(recorded: Path) -> None:
    other = replace(CONTRACT, sensors=SENSORS[1:])
    with recording_lock(recorded), pytest.raises(ContractMismatch, match="sensor 'depth_static'"):
        require_same_contract(recorded, other)


def test_the_card_lists_the_sensors(recorded: Path) -> None:
    card = dataset_card(recorded, "forehand record")
    assert "| `depth_static` | depth | (24, 32) | uint16 | mm |" in card
    assert "| `cloud` | point_cloud | (up to 8, 3) | float32 | m |" in card


def test_depth_that_lerobot_recorded_is_read_exactly(tmp_path: Path) -> None:
    """A dataset without a contract of ours: its depth is a sensor, in the unit that LeRobot states."""
    root, random = tmp_path / "data", np.random.default_rng(0)
    names = ["height", "width", "channels"]
    features = {
        "observation.images.top": {"dtype": "image", "shape": (16, 16, 3), "names": names},
        "observation.images.top_depth": {
            "dtype": "image",
            "shape": (12, 20, 1),
            "names": names,
            "info": {"is_depth_map": True},
        },
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    }
    depths = random.integers(0, 5000, (3, 12, 20, 1)).astype(np.uint16)
    dataset = LeRobotDataset.create("tests/theirs", 20, features, root=root, use_videos=False)
    for depth in depths:
        dataset.add_frame(
            {
                "observation.images.top": np.zeros((16, 16, 3), np.uint8),
                "observation.images.top_depth": depth,
                "observation.state": np.zeros(2, np.float32),
                "action": np.zeros(2, np.float32),
                "task": "hold",
            }
        )
    dataset.save_episode()
    dataset.finalize()
    contract = read_contract(root)
    assert [c.name for c in contract.cameras] == ["top"]
    assert contract.sensors == (Sensor("top_depth", "depth", (12, 20), "uint16", unit="mm"),)
    np.testing.assert_array_equal(open_sensor(root, contract.sensors[0]), depths[..., 0])


def test_a_depth_video_is_refused_by_name(recorded: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "meta").mkdir(parents=True)
    info = read_info(recorded)
    info["features"][KEYS["depth_static"]]["dtype"] = "video"
    (root / "meta" / "info.json").write_text(json.dumps(info))
    write_contract(root, CONTRACT)
    with pytest.raises(DatasetError, match="is a depth video, which is quantized"):
        open_sensor(root, DEPTH)


def test_a_window_may_ask_for_sensors_at_any_offsets(recorded: Path) -> None:
    spec = WindowSpec(observation={"sensors.force": (-1, 0)}, target={"sensors.depth_static": (2,)}, image_size=8)
    batch = WindowDataset(Dataset.open(recorded), spec).batch([0, 6])
    force, depth = batch["observation"]["sensors.force"], batch["target"]["sensors.depth_static"]
    for row, (earlier, now, later) in enumerate(((0, 0, 2), (5, 6, 7))):  # frames 5 to 7 are episode 1
        np.testing.assert_array_equal(force[row, 0].numpy(), FRAMES[earlier].sensors["force"])
        np.testing.assert_array_equal(force[row, 1].numpy(), FRAMES[now].sensors["force"])
        np.testing.assert_array_equal(depth[row, 0].numpy(), FRAMES[later].sensors["depth_static"])
    assert batch["observation"]["sensors.force_valid"].tolist() == [[False, True], [True, True]]
    assert batch["target"]["sensors.depth_static_valid"].tolist() == [[True], [False]]
