"""CALVIN: segments and play, indices that run no code, senses, scales and wrapped angles."""

import os

import numpy as np
import pytest
from tests.foreign_recordings.calvin import frame, write_annotations, write_calvin
from tests.foreign_recordings.pictures import is_upright, level

from forehand.errors import ConfigurationError, DatasetError


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """One for all; nobody may change it."""
    return write_calvin(tmp_path_factory.mktemp("calvin") / "training")


def firsts(there):
    return [row["forehand/first_frame"] for row in there.rows]


def test_annotated_segments_include_both_their_ends(split, imported):
    there = imported("calvin", source=str(split))
    assert (firsts(there), [row["length"] for row in there.rows]) == ([22, 5], [5, 4])
    assert there.sentences() == ["lift the red block", "open the drawer"]
    assert there.rows[0]["forehand/task"] == "lift_red_block_table"
    assert there.contract.rate == 30
    numbers = [22, 23, 24, 25, 26, 5, 6, 7, 8]
    for camera, size in (("static", 200), ("wrist", 84)):
        pictures = there.pictures(camera)
        assert pictures[0].shape == (size, size, 3)
        assert all(map(is_upright, pictures))
        np.testing.assert_allclose([level(p) for p in pictures], numbers, atol=1)


def test_play_is_what_lies_between_the_segments_of_recorded_ranges(split, imported):
    there = imported("calvin", source=str(split), part="unannotated", silence="no lang")
    spans = [(row["forehand/first_frame"], row["length"]) for row in there.rows]
    assert spans == [(3, 2), (9, 4), (20, 2), (27, 5)]  # frame 15 lies in no range
    assert set(there.sentences()) == {"no lang"}
    assert [row["forehand/annotated"] for row in there.rows] == [False] * 4


def test_all_frames_are_segments_and_then_play(split, imported):
    there = imported("calvin", source=str(split), part="all")
    assert firsts(there) == [22, 5, 3, 9, 20, 27]
    assert there.record["frames"] == 22
    whole = imported("calvin", "ranges", source=str(split), part="ranges")
    assert [(row["forehand/first_frame"], row["length"]) for row in whole.rows] == [(3, 10), (20, 12)]
    assert set(whole.sentences()) == {""}


def test_motions_are_taken_as_they_are_recorded_with_their_scale(split, imported):
    there = imported("calvin", source=str(split))
    position, rotation, gripper = there.contract.action
    assert (position.unit, rotation.unit, position.mode, position.frame) == ("0.02 m", "0.05 rad", "delta", "world")
    np.testing.assert_allclose(there.actions[0], frame(22)["rel_actions"], atol=1e-6)
    metres = there.actions[0, :2] * 0.02
    np.testing.assert_allclose(metres, (frame(23)["robot_obs"] - frame(22)["robot_obs"])[:2], atol=1e-6)
    assert gripper.gripper == "open"
    np.testing.assert_array_equal(there.actions[:3, -1], [-1, 1, -1])


def test_angles_that_wrap_do_not_become_motions(split, imported):
    there = imported("calvin", source=str(split), part="ranges", state=["rotation"])
    yaw = there.states[:10, 2]
    assert yaw.min() < -2.9
    assert yaw.max() > 2.9
    np.testing.assert_allclose(there.actions[:, 5], 1)  # 0.1 rad × 20, clipped, where the angle wraps, too


def test_absolute_actions_and_other_columns(split, imported):
    wanted = ["joints", "gripper_width", "gripper"]
    there = imported("calvin", source=str(split), actions="actions", state=wanted)
    assert [f.name for f in there.contract.state] == wanted
    assert [f.mode for f in there.contract.action] == ["absolute", "absolute", None]
    np.testing.assert_allclose(there.states[0], [*np.linspace(-1, 1, 7), 0.08, -1], atol=1e-6)
    np.testing.assert_allclose(there.actions[0], frame(22)["actions"], atol=1e-6)


def test_depth_tactile_and_scene_on_request(split, imported):
    depth = {"depth_static": "depth_static", "depth_wrist": "depth_gripper"}
    with pytest.raises(ConfigurationError, match="depth_unit=…  the unit of a count of depth: m, cm, mm"):
        imported("calvin", source=str(split), depth=depth)
    there = imported("calvin", source=str(split), depth=depth, depth_unit="m", tactile=True, scene_obs=True)
    assert [c.name for c in there.contract.cameras] == ["static", "wrist", "tactile_0", "tactile_1"]
    read = there.source.sensor(there.contract.sensor("depth_static"))
    np.testing.assert_array_equal(read[0], frame(22)["depth_static"])
    np.testing.assert_array_equal(there.source.sensor(there.contract.sensor("scene"))[0], np.arange(24) + 22)
    assert there.pictures("tactile_1")[0].shape == (160, 120, 3)


def test_scenes_are_noted_with_their_origin(split, imported):
    there = imported("calvin", source=str(split), scene="file")
    assert [row["forehand/scene"] for row in there.rows] == ["calvin_scene_D", "calvin_scene_A"]
    assert "16 September 2022" in there.record["statements"]["scene"]["origin"]
    assert [r["forehand/scene"] for r in imported("calvin", "b", source=str(split), scene="B").rows] == ["B", "B"]


def test_segments_outside_the_ranges_are_dropped_and_named(tmp_path, imported):
    split = write_calvin(tmp_path / "training")
    write_annotations(split, ((4, 6, "push it", "push"), (11, 15, "turn it", "turn")))
    there = imported("calvin", source=str(split))
    assert firsts(there) == [4]
    assert there.record["dropped_episodes"] == {
        "annotated/000001-0000011-0000015": "the segment lies outside the ranges of ep_start_end_ids.npy"
    }


class Executed:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_annotations_run_no_code(tmp_path, imported):
    split, trace = write_calvin(tmp_path / "training"), tmp_path / "executed"
    content = {"language": {"ann": [Executed(trace)], "task": [""]}, "info": {"indx": [(3, 4)]}}
    np.save(split / "lang_annotations/auto_lang_ann.npy", content, allow_pickle=True)
    with pytest.raises(DatasetError, match=r"auto_lang_ann.npy cannot be read: it holds (posix|nt).mkdir"):
        imported("calvin", source=str(split))
    assert not trace.exists()


def test_names_of_both_generations_of_numpy_are_read(tmp_path, imported):
    split = write_calvin(tmp_path / "training")
    path = split / "lang_annotations/auto_lang_ann.npy"
    written = path.read_bytes()
    older = written.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    older = older.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    assert b"numpy._core" in written
    assert b"numpy._core" not in older
    first = imported("calvin", "first", source=str(split)).sentences()
    path.write_bytes(_without_frames(older))
    assert imported("calvin", "second", source=str(split)).sentences() == first


def _without_frames(data):
    """The npy file ``data`` with its pickle's frame lengths left out: they no longer hold."""
    start = data.index(b"\n", 10) + 1
    head, body = data[:start], data[start:]
    while (at := body.find(b"\x95")) >= 0 and at < 12:
        body = body[:at] + body[at + 9 :]
    return head + body


def test_a_missing_or_damaged_frame_is_named(tmp_path, imported):
    split = write_calvin(tmp_path / "training")
    (split / "episode_0000023.npz").unlink()
    with pytest.raises(DatasetError, match=r"episode_0000023.npz is missing"):
        imported("calvin", source=str(split))
    path = split / "episode_0000006.npz"
    path.write_bytes(path.read_bytes()[:-100])
    (split / "episode_0000003.npz").unlink()  # the first of all, and of a range
    there = imported("calvin", source=str(split), part="all", job={"damaged": "drop"})
    assert firsts(there) == [9, 20, 27]
    reasons = there.record["dropped_episodes"]
    assert "episode_0000023.npz is missing" in reasons["annotated/000000-0000022-0000026"]
    assert "episode_0000006.npz cannot be read" in reasons["annotated/000001-0000005-0000008"]


def test_the_folder_of_several_splits_is_explained(tmp_path, imported):
    write_calvin(tmp_path / "task_D_D/training")
    with pytest.raises(DatasetError, match=r"several splits.*source=.*training"):
        imported("calvin", source=str(tmp_path / "task_D_D"))
    with pytest.raises(DatasetError, match=r"no split of CALVIN: it has no ep_start_end_ids.npy"):
        imported("calvin", source=str(tmp_path))


def test_a_frame_of_another_type_is_named_and_its_episode_left_out(tmp_path, imported):
    folder = write_calvin(tmp_path / "training")
    file = folder / "episode_0000006.npz"
    np.savez(file, **{**frame(6), "robot_obs": np.array(["a"] * 15)})
    with pytest.raises(DatasetError, match=r"Episode annotated/\S+, step 1: .*0000006\.npz: .*'robot_obs' is <U1"):
        imported("calvin", source=str(folder))
    there = imported("calvin", "dropped", {"damaged": "drop"}, source=str(folder))
    assert firsts(there) == [22]
