"""RLDS: presets, sentences, failed trials, checksums, and what no layout says."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.foreign_recordings.pictures import level
from tests.foreign_recordings.rlds import BRIDGE, DROID, bridge_episode, droid_episode, write_rlds

from forehand.errors import ConfigurationError, DatasetError
from forehand_plugins.importers.rlds.importer import PRESETS

WRIST = {"wrist": {"key": "observation/wrist_image_left", "orientation": "upright", "role": "wrist"}}
SAID = ("push the cup", "", "move the cup away")


@pytest.fixture(scope="module")
def droid(tmp_path_factory) -> Path:
    shards = [
        [droid_episode(4, SAID), droid_episode(2, SAID, "failure")],
        [droid_episode(3, ("", "", "")), droid_episode(3, ("", "lift it", ""))],
    ]
    return write_rlds(tmp_path_factory.mktemp("rlds"), "droid_100", DROID, shards)


def test_droid_asks_for_the_action_alone(droid, imported):
    with pytest.raises(ConfigurationError) as refused:
        imported("rlds", source=str(droid), layout="droid")
    assert "action=…" in str(refused.value)
    assert "joint_velocity" in str(refused.value)
    assert "rate" not in str(refused.value).split("The source has")[0]


def test_droid(droid, imported):
    there = imported("rlds", source=str(droid.parent), layout="droid", action="joint_velocity")
    assert [row["length"] for row in there.rows] == [4, 3]
    assert there.sentences() == ["push the cup", "lift it"]
    assert there.record["dropped_episodes"] == {
        "droid_100-train.tfrecord-00000-of-00002/1": "failed trial",
        "droid_100-train.tfrecord-00001-of-00002/0": "no sentence",
    }
    np.testing.assert_allclose(there.states[:4, 0], 0.1 * np.arange(4), atol=1e-6)
    np.testing.assert_allclose(there.states[:4, -1], 0.01 * np.arange(4), atol=1e-6)
    np.testing.assert_array_equal(there.actions[:4, :7], np.tile(300.0 + np.arange(4), (7, 1)).T)
    np.testing.assert_array_equal(there.actions[:4, 7], 400.0 + np.arange(4))
    joints, gripper = there.contract.action
    assert (joints.unit, joints.mode, gripper.gripper, there.contract.rate) == ("0.2 rad", "delta", "closed", 15)
    assert [(c.name, c.height, c.width, c.role) for c in there.contract.cameras] == [
        ("exterior_1_left", 180, 320, "static"),
        ("exterior_2_left", 180, 320, "static"),
        ("wrist_left", 180, 320, "wrist"),
    ]
    np.testing.assert_allclose([level(p[:, :180]) for p in there.pictures("wrist_left")][:4], range(4), atol=1)
    rows = pq.read_table(next((there.root / "data").rglob("*.parquet"))).to_pylist()
    assert [row["annotation.instruction_2"] for row in rows] == ["move the cup away"] * 4 + [""] * 3


def test_actions_of_droid_differ(droid, imported):
    for action, first, size in (("cartesian_position", 0, 7), ("cartesian_velocity", 100, 7), ("joint_position", 200, 8)):
        there = imported("rlds", name=action, source=str(droid), layout="droid", action=action, cameras=WRIST)
        assert there.actions.shape == (7, size)
        assert there.actions[1, 0] == first + 1


def test_failed_trials_and_silence_may_be_kept(droid, imported):
    options = {"failures": "keep", "silence": "do something", "cameras": WRIST}
    there = imported("rlds", source=str(droid), layout="droid", action="joint_position", **options)
    assert [row["forehand/success"] for row in there.rows] == [True, False, True, True]
    assert there.sentences() == ["push the cup", "push the cup", "do something", "lift it"]


def test_bridge_opens_with_one(tmp_path, imported):
    source = write_rlds(
        tmp_path, "bridge_dataset", BRIDGE, [[bridge_episode(3, "fold"), bridge_episode(2, "fold", False)]]
    )
    there = imported("rlds", source=str(source), layout="bridge")
    assert (there.contract.rate, there.contract.action[-1].gripper, there.contract.action[0].mode) == (5, "open", "delta")
    np.testing.assert_array_equal(there.states[1], 7.0 + np.arange(7))
    second = {"key": "observation/image_1", "orientation": "upright", "role": "static"}
    second |= {"present": "episode_metadata/has_image_1"}
    there = imported("rlds", name="second", source=str(source), layout="bridge", cameras={"second": second})
    assert list(there.record["dropped_episodes"].values()) == ["it has no camera second"]


def test_nothing_is_guessed(tmp_path, imported):
    source = str(write_rlds(tmp_path, "bridge_dataset", BRIDGE, [[bridge_episode(3, "fold")]]))
    with pytest.raises(ConfigurationError) as refused:
        imported("rlds", source=source)
    for words_ in (
        "cameras=…",
        "presets of a layout: bridge, droid",
        "rate=…",
        "last_step=…",
        "observation/state (tensor",
    ):
        assert words_ in str(refused.value)
    camera = {"static": {"key": "observation/image_0", "orientation": "upright"}}
    action = [{"name": "rotation", "key": "action", "part": [3, 6], "unit": "rad", "mode": "delta"}]
    gripper = [{"name": "gripper", "key": "observation/state", "part": [6, 7], "unit": "1", "mode": "absolute"}]
    with pytest.raises(ConfigurationError) as refused:
        imported("rlds", source=source, cameras=camera, action=action, state=gripper)
    for words_ in ("cameras.static.role", "action.rotation.frame", "action.rotation.rotation", "state.gripper.gripper"):
        assert words_ in str(refused.value)
    mapped = [{"name": "all", "key": "observation/stat", "unit": "unknown", "mode": "unknown"}]
    with pytest.raises(ConfigurationError, match=r"no feature 'observation/stat'. Did you mean 'observation/state'"):
        imported("rlds", source=source, layout="bridge", state=mapped)


def test_a_layout_of_ones_own_with_the_last_step_dropped(tmp_path, imported):
    source = str(write_rlds(tmp_path / "in", "mine", BRIDGE, [[bridge_episode(3, "fold")]]))
    (tmp_path / "mine.yaml").write_text(
        "rate: 5\ncameras: {a: {key: observation/image_0, orientation: upright, role: unknown}}\n"
        "last_step: drop\ninstruction: language_instruction\n"
        "state: [{name: all, key: observation/state, unit: unknown, mode: unknown}]\n"
        "action: [{name: all, key: action, unit: unknown, mode: unknown, low: 0, high: 1}]\n"
    )
    there = imported("rlds", source=source, layout=str(tmp_path / "mine.yaml"))
    assert there.record["skipped_frames"] == {"the last step has no action": 1}
    assert len(there.actions) == 2
    assert there.contract.action[0].unit is None
    assert there.contract.action[0].high == (1.0,) * 7
    with pytest.raises(DatasetError, match="another scale"):
        imported(
            "rlds",
            name="more",
            source=source,
            layout=str(tmp_path / "mine.yaml"),
            last_step="keep",
            action=[{"name": "all", "key": "action", "unit": "1", "mode": "delta", "low": 0, "high": 0.1}],
        )


def test_damage_is_found_by_checksum_length_and_count(tmp_path, imported):
    folder = write_rlds(tmp_path, "bridge_dataset", BRIDGE, [[bridge_episode(2, "fold"), bridge_episode(2, "fold")]])
    (path,) = folder.glob("*.tfrecord*")
    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    with pytest.raises(DatasetError, match=r"tfrecord-00000-of-00001 is damaged: the bytes from 12 on have"):
        imported("rlds", source=str(folder), layout="bridge")
    there = imported("rlds", name="dropped", source=str(folder), layout="bridge", job={"damaged": "drop"})
    assert list(there.record["dropped_episodes"]) == ["bridge_dataset-train.tfrecord-00000-of-00001/0"]
    path.write_bytes(whole[:-3])
    with pytest.raises(DatasetError, match="ends within a record"):
        imported("rlds", name="short", source=str(folder), layout="bridge")
    other = folder / "bridge_dataset-train.tfrecord-00001-of-00002"
    path.rename(folder / "bridge_dataset-train.tfrecord-00000-of-00002")
    other.write_bytes(whole)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["2", "2"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    there = imported("rlds", name="files", source=str(folder), layout="bridge", job={"damaged": "drop"})
    assert list(there.record["dropped_episodes"]) == ["bridge_dataset-train.tfrecord-00000-of-00002"]
    assert len(there.rows) == 2
    other.unlink()
    with pytest.raises(DatasetError, match=r"ends within a record"):
        imported("rlds", name="none", source=str(folder), layout="bridge", job={"damaged": "drop"})
    path.write_bytes(whole)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["3"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"has 2 records, and dataset_info\.json says 3"):
        imported("rlds", name="count", source=str(folder), layout="bridge")


def test_array_record(tmp_path, imported):
    writer = pytest.importorskip("array_record.python.array_record_module")
    from tfrecord.writer import TFRecordWriter

    folder = write_rlds(tmp_path, "bridge_dataset", BRIDGE, [[bridge_episode(2, "fold")]])
    (path,) = folder.glob("*.tfrecord*")
    path.unlink()
    file = writer.ArrayRecordWriter(str(folder / "bridge_dataset-train.array_record-00000-of-00001"), "group_size:1")
    for length in (2, 3):
        file.write(TFRecordWriter.serialize_tf_example(bridge_episode(length, "fold")))
    file.close()
    info = json.loads((folder / "dataset_info.json").read_text()) | {"fileFormat": "array_record"}
    info["splits"][0]["shardLengths"] = ["2"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    assert [row["length"] for row in imported("rlds", source=str(folder), layout="bridge").rows] == [2, 3]


def test_an_import_is_not_continued_with_another_layout(tmp_path, imported):
    shards = [[bridge_episode(2, "fold"), bridge_episode(2, "fold")]]
    source = str(write_rlds(tmp_path / "in", "mine", BRIDGE, shards))
    layout = (PRESETS / "bridge.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(layout)
    there = imported("rlds", source=source, layout=str(tmp_path / "mine.yaml"))
    assert len(imported("rlds", source=source, layout=str(tmp_path / "mine.yaml")).rows) == len(there.rows) == 2
    (tmp_path / "mine.yaml").write_text(layout.replace("key: action, part: [0, 3]", "key: action, part: [3, 6]"))
    with pytest.raises(DatasetError, match=r"another import:\n.*action\.position: 'action\[0:3\].*there, 'action\[3:6\]"):
        imported("rlds", source=source, layout=str(tmp_path / "mine.yaml"))
