"""LIBERO: what its files say, what its format defines, and what must not be taken for it."""

import h5py
import numpy as np
import pytest
from tests.foreign_recordings.hdf5 import EE_ORI, write_libero
from tests.foreign_recordings.pictures import is_upright, level, scene

from forehand.contracts.rotations import from_axis_angle, from_euler
from forehand.errors import DatasetError


def test_a_task_is_imported_whole(tmp_path, imported):
    write_libero(tmp_path / "in/KITCHEN_SCENE8_put_both_moka_pots_on_the_stove_demo.hdf5")
    there = imported("libero", source=str(tmp_path / "in"))
    assert [row["length"] for row in there.rows] == [4, 3]
    assert there.rows[0]["forehand/source"] == "KITCHEN_SCENE8_put_both_moka_pots_on_the_stove_demo.hdf5/demo_0"
    assert [row["forehand/success"] for row in there.rows] == [True, True]
    position, rotation, _ = there.contract.action
    assert (position.unit, rotation.unit) == ("0.05 m", "0.5 rad")
    assert (position.mode, position.frame, rotation.rotation) == ("delta", "world", "axis_angle")
    assert there.contract.rate == 20
    np.testing.assert_allclose(there.states[4], [0.1, 0, 1, *EE_ORI, 0.04, -0.04], atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "origin"),
    [({}, "definition of the format"), ({"macros_image_convention": "opengl"}, "macros_image_convention of the files")],
)
def test_pictures_are_turned_upright_and_not_mirrored(tmp_path, imported, attributes, origin):
    write_libero(tmp_path / "a_demo.hdf5", **attributes)
    there = imported("libero", source=str(tmp_path / "a_demo.hdf5"))
    for camera in ("static", "wrist"):
        pictures = there.pictures(camera)
        assert all(map(is_upright, pictures))
        np.testing.assert_allclose([level(p) for p in pictures], [0, 1, 2, 3, 0, 1, 2], atol=1)
    assert there.record["orientation_in_source"] == {"static": "flipped_vertically", "wrist": "flipped_vertically"}
    assert there.record["statements"]["orientation"]["origin"] == origin


def test_a_half_turn_would_have_mirrored_them():
    assert is_upright(scene(128, 0))
    assert not is_upright(scene(128, 0)[::-1][::-1, ::-1])


def test_another_orientation_may_be_stated(tmp_path, imported):
    write_libero(tmp_path / "a_demo.hdf5")
    there = imported("libero", source=str(tmp_path / "a_demo.hdf5"), orientation="upright")
    assert not any(map(is_upright, there.pictures("static")))
    assert there.record["statements"]["orientation"] == {"value": "upright", "origin": "stated by option"}


def test_one_closes_the_gripper(tmp_path, imported):
    write_libero(tmp_path / "a_demo.hdf5")
    there = imported("libero", source=str(tmp_path / "a_demo.hdf5"))
    assert there.contract.action[-1].gripper == "closed"
    np.testing.assert_array_equal(there.actions[:4, -1], [-1, -1, 1, 1])


@pytest.mark.parametrize("said", ["pick up the butter", ["p", "i", "c", "k", " ", "i", "t"], '"open it"'])
def test_the_sentence_is_the_one_in_the_file_and_not_its_name(tmp_path, imported, said):
    write_libero(tmp_path / "LIVING_ROOM_SCENE2_close_the_drawer_demo.hdf5", said)
    there = imported("libero", source=str(tmp_path))
    assert set(there.sentences()) == {"".join(said).strip('"')}


def test_without_a_sentence_the_name_is_not_taken_for_one(tmp_path, imported):
    write_libero(tmp_path / "SCENE2_close_the_drawer_demo.hdf5", "")
    with pytest.raises(DatasetError, match=r"no language_instruction.*problem_info.*no sentence"):
        imported("libero", source=str(tmp_path))


def test_axis_angle_is_not_read_as_euler_angles(tmp_path, imported):
    write_libero(tmp_path / "a_demo.hdf5")
    there = imported("libero", source=str(tmp_path), rotation="euler_xyz_extrinsic")
    assert there.contract.state[1].rotation == "euler_xyz_extrinsic"
    angles = there.states[0, 3:6]
    np.testing.assert_allclose(from_euler(angles), from_axis_angle(EE_ORI), atol=1e-6)
    assert np.abs(angles - EE_ORI).max() > 0.1


def test_steps_that_command_nothing_are_left_out_on_request(tmp_path, imported):
    write_libero(tmp_path / "a_demo.hdf5", lengths=(8,), idle=(0, 2, 4, 5))
    kept = imported("libero", "kept", source=str(tmp_path))
    there = imported("libero", "dropped", source=str(tmp_path), no_ops="drop")
    assert len(kept.actions) == 8
    # Step 4 closes the gripper and stays; 5 repeats it.
    np.testing.assert_allclose([level(p) for p in there.pictures("static")], [1, 3, 4, 6, 7], atol=1)
    assert there.record["skipped_frames"] == {"no-ops: the command moves nothing": 3}


def test_a_demonstration_of_nothing_is_dropped_and_named(tmp_path, imported):
    write_libero(tmp_path / "a_demo.hdf5", lengths=(4, 5))
    with h5py.File(tmp_path / "a_demo.hdf5", "a") as file:
        still = file["data/demo_0/actions"]
        still[...] = 0
        still[:, 6] = -1
    there = imported("libero", source=str(tmp_path), no_ops="drop")
    assert there.record["dropped_episodes"] == {"a_demo.hdf5/demo_0": "no frame of it is left"}
    assert [row["forehand/source"] for row in there.rows] == ["a_demo.hdf5/demo_1"]


def test_tasks_of_another_scale_are_not_mixed(tmp_path, imported):
    from tests.foreign_recordings.hdf5 import env_args

    write_libero(tmp_path / "a_demo.hdf5")
    write_libero(tmp_path / "b_demo.hdf5", env_args=env_args(controller={"output_max": [0.1] * 3 + [0.5] * 3}))
    with pytest.raises(DatasetError, match=r"b_demo.hdf5 has another steps than .*a_demo.hdf5: \(0.1, 0.5\) and not"):
        imported("libero", source=str(tmp_path))


def test_actions_outside_the_stated_range_are_refused(tmp_path, imported):
    write_libero(tmp_path / "a_demo.hdf5")
    with h5py.File(tmp_path / "a_demo.hdf5", "a") as file:
        file["data/demo_1/actions"][1, 0] = 3
    with pytest.raises(DatasetError, match=r"position is 3, and its range is stated as -1 to 1 0.05 m"):
        imported("libero", source=str(tmp_path))


def test_a_file_that_was_copied_in_part_is_named(tmp_path, imported):
    path = write_libero(tmp_path / "a_demo.hdf5")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match=r"a_demo.hdf5 cannot be read .*Fetch or copy it again"):
        imported("libero", source=str(tmp_path))
