"""robomimic: what env_args say, what must be given, masks and absolute variants."""

import json

import numpy as np
import pytest
from tests.foreign_recordings.hdf5 import env_args, write_robomimic
from tests.foreign_recordings.pictures import is_upright

from forehand.errors import ConfigurationError, DatasetError

GIVEN = {"instruction": "lift the cube", "orientation": "upright"}


def test_what_the_format_lacks_must_be_given(tmp_path, imported):
    source = write_robomimic(tmp_path / "image.hdf5")
    with pytest.raises(ConfigurationError) as refused:
        imported("robomimic", source=str(source))
    for word in ("instruction=…", "orientation.static=…", "orientation.wrist=…", "flipped_vertically"):
        assert word in str(refused.value)
    assert "rate" not in str(refused.value)
    bare = write_robomimic(tmp_path / "bare.hdf5", args=json.dumps({"env_kwargs": {}}))
    with pytest.raises(ConfigurationError, match=r"(?s)rate=….*Hz.*action_mode=….*delta, absolute"):
        imported("robomimic", source=str(bare), **GIVEN)


def test_demonstrations_come_by_number_with_their_masks(tmp_path, imported):
    there = imported("robomimic", source=str(write_robomimic(tmp_path / "image.hdf5")), **GIVEN)
    assert [row["forehand/source"] for row in there.rows] == [f"image.hdf5/demo_{i}" for i in (1, 2, 10)]
    assert [row["forehand/split"] for row in there.rows] == ["train", "valid", "train"]
    assert [row["forehand/mask_20_percent"] for row in there.rows] == [False, False, True]
    assert there.sentences() == ["lift the cube"] * 3
    assert all(map(is_upright, there.pictures("wrist")))
    assert (there.contract.rate, there.source.contract.camera("static").height) == (20, 84)
    np.testing.assert_array_equal(there.states[:, 0], [1] * 4 + [2] * 3 + [10] * 5)
    assert there.contract.state[1].rotation == "quaternion_xyzw"


def test_one_mask_may_be_chosen(tmp_path, imported):
    source = str(write_robomimic(tmp_path / "image.hdf5"))
    assert len(imported("robomimic", source=source, mask="valid", **GIVEN).rows) == 1
    with pytest.raises(ConfigurationError, match=r"mask=vaild is in none of the files. Did you mean 'valid'"):
        imported("robomimic", "other", source=source, mask="vaild", **GIVEN)


@pytest.mark.parametrize(
    ("members", "message"),
    [(["demo_77"], "mask/valid names demonstrations that are not in the file, such as 'demo_77'"),
     (["demo_1"], "'demo_1' is in mask/train and in mask/valid")],
)  # fmt: skip
def test_masks_that_contradict_are_refused(tmp_path, imported, members, message):
    import h5py

    source = write_robomimic(tmp_path / "a.hdf5")
    with h5py.File(source, "r+") as file:
        del file["mask/valid"]
        file["mask/valid"] = np.array([m.encode() for m in members])
    with pytest.raises(DatasetError, match=message):
        imported("robomimic", source=str(source), **GIVEN)


def test_an_absolute_controller_is_not_taken_for_motions(tmp_path, imported):
    args = env_args(controller={"control_delta": False})
    there = imported("robomimic", source=str(write_robomimic(tmp_path / "a.hdf5", args=args)), **GIVEN)
    position, rotation, gripper = there.contract.action
    assert (position.mode, position.unit, rotation.mode, rotation.unit) == ("absolute", "m", "absolute", "rad")
    assert gripper.gripper == "closed"


def test_absolute_actions_beside_the_motions(tmp_path, imported):
    source = str(write_robomimic(tmp_path / "a.hdf5"))
    there = imported("robomimic", source=source, actions="actions_abs", **GIVEN)
    assert there.contract.action[0].mode == "absolute"
    assert there.record["statements"]["action mode"]["origin"] == "the name of actions_abs"
    assert there.actions[0, 0] == 1


def test_controllers_of_later_robosuite_state_their_frame(tmp_path, imported):
    part = {"type": "OSC_POSE", "input_type": "delta", "input_ref_frame": "base", "output_max": [0.05] * 3 + [0.5] * 3}
    args = env_args(controller_configs={"type": "BASIC", "body_parts": {"right": part}})
    there = imported("robomimic", source=str(write_robomimic(tmp_path / "a.hdf5", args=args)), **GIVEN)
    assert (there.contract.action[0].mode, there.contract.action[0].frame) == ("delta", "base")


def test_two_arms(tmp_path, imported):
    there = imported("robomimic", source=str(write_robomimic(tmp_path / "a.hdf5", arms=2)), **GIVEN)
    assert [f.name for f in there.contract.action[::3]] == ["robot0_position", "robot1_position"]
    assert (there.contract.action_size, there.contract.state_size) == (14, 18)
    assert there.states[0, 9] == np.float32(1.1)


def test_other_controllers_and_missing_pictures_are_named(tmp_path, imported):
    joints = write_robomimic(tmp_path / "a.hdf5", args=env_args(controller={"type": "JOINT_VELOCITY"}))
    with pytest.raises(DatasetError, match="controller JOINT_VELOCITY"):
        imported("robomimic", source=str(joints), **GIVEN)
    with pytest.raises(DatasetError, match=r"no pictures in obs, only object, .*dataset_states_to_obs"):
        imported("robomimic", source=str(write_robomimic(tmp_path / "b.hdf5", pictures=False)), **GIVEN)
    with pytest.raises(DatasetError, match=r"no 'obs/robot0_joints'"):
        imported("robomimic", source=str(write_robomimic(tmp_path / "c.hdf5")), state=["robot0_joints"], **GIVEN)


def test_damaged_demonstrations_are_left_out_by_name(tmp_path, imported):
    import h5py

    for name in ("a", "b"):
        write_robomimic(tmp_path / f"{name}.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        for number in (1, 2):
            del file[f"data/demo_{number}/obs"]
        file["data/demo_1/obs"] = np.zeros(3)  # an array, and no group
        file["data/demo_10"].attrs["num_samples"] = 50
        del file["data/demo_2/actions"]
    with pytest.raises(DatasetError, match=r"Episode a\.hdf5/demo_1, step 0: .*/data/demo_1/obs is an array float64"):
        imported("robomimic", source=str(tmp_path), **GIVEN)
    (tmp_path / "c.hdf5").write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"Episode c\.hdf5: .*c\.hdf5 cannot be read"):
        imported("robomimic", "torn", source=str(tmp_path), **GIVEN)
    there = imported("robomimic", "dropped", {"damaged": "drop"}, source=str(tmp_path), **GIVEN)
    assert [row["forehand/source"] for row in there.rows] == [f"b.hdf5/demo_{i}" for i in (1, 2, 10)]
    dropped = there.record["dropped_episodes"]
    assert list(dropped) == ["a.hdf5/demo_1", "a.hdf5/demo_2", "a.hdf5/demo_10", "c.hdf5"]
    assert "has no 'actions' in /data/demo_2" in dropped["a.hdf5/demo_2"]
    assert "has 5 actions, and its attribute num_samples says 50" in dropped["a.hdf5/demo_10"]
    assert "c.hdf5 cannot be read" in dropped["c.hdf5"]
    total = there.record["statements"]["total of a.hdf5"]
    assert total["value"] == "9 samples in 3 demonstrations, and the attribute total says 12"
