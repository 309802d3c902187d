"""Columns and cameras of a dataset that become the state, the action and the cameras of a contract."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forehand import Camera, Field
from forehand.data.dataset import Dataset
from forehand.data.features import read_contract, write_contract
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.mapping.mapped_source import MappedSource
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, DatasetError

JOINTS = "observation.state.joint_position"
GRIPPER = "observation.state.gripper_position"
MAPPED: dict[str, Any] = {
    "state": [JOINTS, {"column": GRIPPER, "gripper": "closed", "low": 0, "high": [1]}],
    "action": {"arm": "action.joint_velocity[0:6]", "gripper": "action.gripper_position"},
    "cameras": {"static": {"camera": "observation.images.exterior_1_left", "role": "static"}, "wrist": "wrist_left"},
}


@pytest.fixture(scope="module")
def stated(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> LeRobotSource:
    """A dataset with a contract that says what its numbers mean: three of a position, and a gripper."""
    root = Path(shutil.copytree(small_dataset, tmp_path_factory.mktemp("stated") / "dataset"))
    position, gripper = Field("position", 3, unit="m"), Field("gripper", 1, gripper="open")
    write_contract(root, replace(read_contract(root), state=(position, gripper), action=(position,)))
    return LeRobotSource(root)


def test_a_dataset_with_other_keys_is_read_as_the_contract_says(droid_like: Path):
    data = Dataset.open({"path": str(droid_like), **MAPPED})
    assert data.contract.cameras == (Camera("static", 24, 32, "static"), Camera("wrist", 24, 32))
    assert data.contract.state == (
        Field("joint_position", 7),
        Field("gripper_position", 1, gripper="closed", low=(0.0,), high=(1.0,)),
    )
    assert data.contract.action == (Field("arm", 6), Field("gripper", 1))
    frames = np.arange(36, dtype=np.float32)
    joints = frames[:, None] + np.arange(7, dtype=np.float32) / 10
    assert np.array_equal(data.episodes.states, np.column_stack([joints, frames % 2]))
    assert np.array_equal(data.episodes.actions, np.column_stack([-joints[:, :6], frames % 2]))
    assert data.episodes.has_action.all()
    assert data.statistics["action"]["min"].shape == (7,)
    batch = WindowDataset(data, history=2, chunk=1, image_size=(24, 32)).batch([20])
    assert batch["observation"]["images.static"][0, :, 0, 0, 0].tolist() == [100, 105]
    assert batch["observation"]["images.wrist"][0, :, 0, 0, 0].tolist() == [100, 95]
    assert torch.equal(batch["observation"]["state"][0, 0], torch.from_numpy(data.episodes.states[20]))


def test_the_statistics_of_images_are_those_of_the_renamed_camera(droid_like: Path):
    renamed = Dataset.open({"path": droid_like, **MAPPED}).statistics["observation.images.static"]
    recorded = LeRobotSource(droid_like).image_statistics("exterior_1_left")
    assert all(np.allclose(renamed[name], recorded[name]) for name in ("mean", "std", "min", "max", "count"))


def test_without_options_nothing_changes(small_dataset: Path):
    plain, mapped = Dataset.open(small_dataset), Dataset.open({"path": small_dataset, "state": "observation.state"})
    assert mapped.contract == plain.contract
    assert np.array_equal(mapped.episodes.states, plain.episodes.states)
    assert mapped.fingerprint != plain.fingerprint
    assert Dataset.open({"path": small_dataset, "state": None}).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("selector", "elements", "names"),
    [
        ("observation.state", [0, 1, 2, 3], ["position", "gripper"]),
        ("observation.state[position]", [0, 1, 2], ["position"]),
        ("observation.state[gripper,position]", [3, 0, 1, 2], ["gripper", "position"]),
        ("observation.state[0:3]", [0, 1, 2], ["position"]),
        ("observation.state[:2]", [0, 1], ["position[0,1]"]),
        ("observation.state[-1]", [3], ["gripper"]),
        ("observation.state[position.2]", [2], ["position.2"]),
        ("observation.state[2:]", [2, 3], ["position[2]", "gripper"]),
        ("observation.state[2,0]", [2, 0], ["position[2]", "position[0]"]),
        ("action[1]", [1], ["position.1"]),
        ("timestamp", [0], ["timestamp"]),
    ],
)
def test_elements_are_chosen_by_number_and_by_name(selector, elements, names, stated: LeRobotSource):
    source = MappedSource(stated, state=[selector])
    assert [field.name for field in source.contract.state] == names
    assert all(field.unit == ("m" if "position" in field.name else None) for field in source.contract.state)
    recorded = source.column(selector.partition("[")[0])
    assert np.array_equal(source.episodes.states, recorded[:, elements].astype(np.float32))


def test_fields_keep_what_was_stated_and_take_what_is_said(stated: LeRobotSource):
    tcp = {"column": "observation.state[0:3]", "name": "tcp", "frame": "base", "low": -1, "high": [1, 2, 3]}
    (field,) = MappedSource(stated, state=[tcp]).contract.state
    assert field == Field("tcp", 3, unit="m", frame="base", low=(-1.0, -1.0, -1.0), high=(1.0, 2.0, 3.0))
    whole = {"column": "observation.state", "name": "all"}  # two fields become one
    assert MappedSource(stated, state=[whole]).contract.state == (Field("all", 4),)


def test_what_does_not_move_and_is_not_measured_may_be_left_out(small_dataset: Path):
    data = Dataset.open({"path": small_dataset, "state": [], "action": []})
    assert data.contract.state == data.contract.action == ()
    assert not data.episodes.has_action.any()
    sample = WindowDataset(data, history=2, chunk=1, image_size=8)[0]
    assert sample["observation"]["state"].shape == (2, 0)
    assert not sample["target"]["actions_valid"].any()


def test_a_dataset_without_a_state_is_refused_with_the_columns_that_there_are(droid_like: Path):
    with pytest.raises(DatasetError, match=rf"lacks 'observation.state'; it has .*{GRIPPER}.* state: \[\]"):
        Dataset.open(droid_like)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": [JOINTS, "observation.state.griper_position"]}, rf"state\[1\]: the column .* mean '{GRIPPER}'"),
        ({"state": ["building"]}, r"state\[0\]: the column 'building' holds words"),
        ({"state": ["length"]}, r"state\[0\]: the column 'length' does not exist"),
        ({"state": [f"{JOINTS}[0:9]"]}, r"has 7 elements, and no '0:9' among them"),
        ({"state": [f"{JOINTS}[7]"]}, "has 7 elements, and no '7' among them"),
        ({"state": [f"{JOINTS}[join_3]"]}, "no 'join_3' among them. Did you mean 'joint_3'"),
        ({"state": [f"{JOINTS}[0"]}, "is no column, nor elements of one"),
        ({"state": 3}, "state is a list of columns or a mapping .* not 3"),
        ({"state": [JOINTS, JOINTS]}, "two fields are called 'joint_position'"),
        ({"state": {"arm": {"colum": JOINTS}}}, r"state\.arm is a column, or .* not"),
        ({"state": {"arm": {"column": JOINTS, "uni": "rad"}}}, r"there is no option 'uni'. Did you mean 'unit'"),
        ({"state": {"arm": {"column": JOINTS, "unit": 3}}}, "unit is a word, not 3"),
        ({"state": {"arm": {"column": JOINTS, "low": [0, 1]}}}, "has 7 elements but a bound of 2"),
        ({"state": {"arm": {"column": JOINTS, "low": "0"}}}, "low is a number, or one for each element, not '0'"),
        ({"cameras": {"static": "exterior_2_left"}}, r"cameras\.static: there is no camera 'exterior_2_left'. Did you"),
        ({"cameras": {"static": {"camera": "wrist_left", "role": "hand"}}}, "a role is static or wrist, not 'hand'"),
        ({"cameras": {"static": 3}}, r"cameras\.static is a camera, or"),
        ({"cameras": "wrist_left"}, "cameras is a mapping of new names to present ones, or a list, not"),
    ],
)
def test_what_cannot_be_mapped_is_named(options, message, droid_like: Path):
    with pytest.raises(ConfigurationError, match=message) as error:
        MappedSource(LeRobotSource(droid_like), **options)
    assert str(droid_like) in str(error.value)


def test_a_camera_that_was_not_selected_is_not_there(droid_like: Path):
    source = MappedSource(LeRobotSource(droid_like), cameras=["observation.images.wrist_left"])
    assert [camera.name for camera in source.contract.cameras] == ["wrist_left"]
    assert source.pictures("wrist_left").total == 36
    with pytest.raises(DatasetError, match=r"has no camera 'exterior_1_left'; its cameras are \['wrist_left'\]"):
        source.pictures("exterior_1_left")


def test_numbers_that_are_none_are_named_by_episode_and_frame(droid_like: Path, tmp_path: Path, change_column):
    root = Path(shutil.copytree(droid_like, tmp_path / "broken"))
    change_column(
        root, JOINTS, lambda rows: [[*row[:4], np.nan, *row[5:]] if i == 11 else row for i, row in enumerate(rows)]
    )
    assert Dataset.open({"path": root, "state": [f"{JOINTS}[0:4]"]}).episodes.states.shape == (36, 4)
    with pytest.raises(DatasetError, match=r"is not finite in 1 of 36 frames .* 4 is nan in frame 2 of episode 2"):
        Dataset.open({"path": root, "state": [JOINTS]})


def test_a_stated_feature_that_the_tables_lack_is_no_column(droid_like: Path, tmp_path: Path):
    root = Path(shutil.copytree(droid_like, tmp_path / "lacking"))
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["force"] = {"dtype": "float32", "shape": [3], "names": None}
    (root / "meta/info.json").write_text(json.dumps(info))
    assert "force" not in LeRobotSource(root).columns
    with pytest.raises(DatasetError, match="has no column 'force'"):
        LeRobotSource(root).column("force")
    with pytest.raises(DatasetError, match=r"'building' .* holds words, and numbers are needed"):
        LeRobotSource(root).column("building")
