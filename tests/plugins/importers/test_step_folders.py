"""Folders of single steps: nothing about them is guessed."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from PIL import Image
from tests.foreign_recordings.pictures import is_upright, level
from tests.foreign_recordings.step_folders import KEYS, write_step_folders

from forehand.errors import ConfigurationError, DatasetError


def test_what_must_be_given_is_listed_with_what_there_is(tmp_path, imported):
    with pytest.raises(ConfigurationError) as refused:
        imported("step_folders", source=str(write_step_folders(tmp_path / "in", (1,))))
    for words in (
        "platform=…",
        "libero, droid, real",
        "keys.pose=…",
        "other.h5 has delta, gripper_position, tcp_pose, text/1",
    ):
        assert words in str(refused.value)
    with pytest.raises(ConfigurationError, match=r"(?s)orientation=….*scaled=…"):
        imported("step_folders", source=str(tmp_path / "in"), platform="droid", keys=KEYS)


def test_motions_in_metres_are_scaled_as_for_training(tmp_path, imported):
    source = str(write_step_folders(tmp_path / "in"))
    there = imported("step_folders", source=source, platform="real", keys=KEYS, orientation="upright", scaled=False)
    assert [row["length"] for row in there.rows] == [3, 12]
    np.testing.assert_allclose(there.states[:12, 0], [0, 0.1, 0.2, *(0.1 * np.arange(9))], atol=1e-6)
    np.testing.assert_allclose(there.actions[0], [0.5, 0, 0, 0, 0, 1, 1], atol=1e-6)  # 0.1 rad is clipped
    position, rotation, gripper = there.contract.action
    assert (position.unit, rotation.unit, position.frame, gripper.gripper) == (
        "0.02 m",
        "0.05 rad",
        "end_effector",
        "open",
    )
    assert there.contract.rate == 15
    assert there.sentences() == ["fold the towel", "make it square"]
    assert all(map(is_upright, there.pictures("primary")))
    np.testing.assert_allclose([level(p) for p in there.pictures("wrist")][3:], range(12), atol=1)


def test_libero_keeps_its_senses(tmp_path, imported):
    source = str(write_step_folders(tmp_path / "in", (2,), fingers=2, flipped=True))
    there = imported("step_folders", source=source, platform="libero", keys=KEYS)
    assert (there.contract.action[-1].gripper, there.contract.action[0].unit) == ("closed", "0.05 m")
    assert (there.contract.state[1].rotation, there.contract.state_size) == ("axis_angle", 8)
    assert all(map(is_upright, there.pictures("primary")))


def test_a_key_that_is_missing_is_named(tmp_path, imported):
    source = str(write_step_folders(tmp_path / "in", (1,)))
    with pytest.raises(DatasetError, match=r"no 'pose'. Did you mean .*'tcp_pose'"):
        imported("step_folders", source=source, platform="libero", keys=KEYS | {"pose": "pose"})


def test_picture_files_are_kept_as_they_are(tmp_path, imported):
    source = write_step_folders(tmp_path / "in", (3, 2))
    options = {"source": str(source), "platform": "real", "keys": KEYS, "orientation": "upright", "scaled": True}
    there = imported("step_folders", job={"pictures": "images"}, **options)
    stored = [row for f in there.root.rglob("data/*/*.parquet") for row in pq.read_table(f).to_pylist()]
    files = sorted(source.rglob("image_primary.jpg"))
    assert [row["observation.images.primary"]["bytes"] for row in stored] == [file.read_bytes() for file in files]
    np.testing.assert_array_equal(there.pictures("primary")[2], np.asarray(Image.open(files[2])))
    assert not (there.root / "videos").exists()
    opened = LeRobotDataset("you/kept", root=there.root)
    assert opened[4]["observation.images.wrist"].shape == (3, 224, 224)


def test_pictures_that_must_be_turned_lose_nothing(tmp_path, imported):
    source = write_step_folders(tmp_path / "in", (2,), fingers=2, flipped=True)
    there = imported("step_folders", job={"pictures": "images"}, source=str(source), platform="libero", keys=KEYS)
    (first, _) = sorted(source.rglob("image_primary.jpg"))
    np.testing.assert_array_equal(there.pictures("primary")[0], np.asarray(Image.open(first))[::-1])


def test_a_damaged_first_step_hides_no_other_episode(tmp_path, imported):
    source = write_step_folders(tmp_path / "in", (2, 3, 4))
    sorted(source.rglob("image_primary.jpg"))[0].write_bytes(b"torn")
    sorted(source.rglob("other.h5"))[0].write_bytes(b"torn")
    options = {"source": str(source), "platform": "real", "keys": KEYS, "orientation": "upright", "scaled": True}
    there = imported("step_folders", job={"damaged": "drop"}, **options)
    assert [row["length"] for row in there.rows] == [3, 4]
    assert len(there.record["dropped_episodes"]) == 1
    lost = sorted(source.rglob("other.h5"))[3]  # in the middle of an episode, which is not joined over it
    lost.unlink()
    with pytest.raises(DatasetError, match=rf"step 1: .*{lost} is missing"):
        imported("step_folders", "lost", **{**options, "source": str(lost.parents[2])})
