"""zarr: Diffusion Policy's and UMI's stores, of both formats, as folders and zip files."""

import numpy as np
import pytest
from tests.foreign_recordings.pictures import is_upright, level
from tests.foreign_recordings.zarr import write_pusht, write_umi

from forehand.errors import ConfigurationError, DatasetError


@pytest.mark.parametrize(("name", "version"), [("pusht.zarr", 2), ("pusht.zarr.zip", 2), ("pusht.zarr", 3)])
def test_pusht(tmp_path, imported, name, version):
    source = str(write_pusht(tmp_path / name, version=version))
    there = imported("zarr", source=source, layout="pusht", instruction="push the T to its place")
    assert [row["length"] for row in there.rows] == [3, 4]  # ends are excluded
    assert there.sentences() == ["push the T to its place"] * 2
    np.testing.assert_array_equal(there.states, [[i, i + 100] for i in range(7)])
    np.testing.assert_array_equal(there.actions, [[i + 10, i + 110] for i in range(7)])
    assert (there.contract.rate, there.contract.action[0].high) == (10, (512, 512))
    np.testing.assert_allclose([level(p) for p in there.pictures("static")], range(7), atol=1)


def test_pictures_of_floats_up_to_1_are_not_taken_for_black_ones(tmp_path, imported):
    import zarr

    source = write_pusht(tmp_path / "a.zarr", white=1.0)
    there = imported("zarr", source=str(source), layout="pusht", instruction="push")
    np.testing.assert_allclose([level(p) for p in there.pictures("static")], range(7), atol=1)
    assumed = there.record["statements"]["cameras.static.white"]
    assert (assumed["value"], assumed["origin"][:8]) == (1, "assumed:")
    stated = {"static": {"key": "img", "orientation": "upright", "role": "static", "white": 255}}
    with pytest.raises(DatasetError, match=r"'img' has values from 0 to 0.*, and white is stated as 255"):
        imported("zarr", "stated", source=str(source), layout="pusht", instruction="push", cameras=stated)
    zarr.open_group(str(source), mode="r+")["data/img"][5] = 200.0
    with pytest.raises(DatasetError, match=r"Episode 000001, step 2: .* to 200, and white is stated as 1"):
        imported("zarr", "bright", source=str(source), layout="pusht", instruction="push")


def test_actions_of_umi_are_the_next_poses(tmp_path, imported):
    source = str(write_umi(tmp_path / "umi.zarr.zip"))
    there = imported("zarr", source=source, layout="umi", instruction="")
    assert [row["length"] for row in there.rows] == [3, 2]
    assert there.record["skipped_frames"] == {"no action follows": 2}
    np.testing.assert_allclose(there.states[:, 0], [0, 0.01, 0.02, 0.04, 0.05], atol=1e-6)
    np.testing.assert_allclose(there.actions[:, 0], [0.01, 0.02, 0.03, 0.05, 0.06], atol=1e-6)
    assert (there.contract.action[1].rotation, there.contract.action[2].gripper) == ("axis_angle", "open")
    assert all(map(is_upright, there.pictures("wrist")))


def test_nothing_is_guessed(tmp_path, imported):
    source = str(write_pusht(tmp_path / "a.zarr"))
    with pytest.raises(ConfigurationError) as refused:
        imported("zarr", source=source)
    for words in ("layout: pusht, umi", "rate=…", "instruction=…", "action_ahead=…", "img (float32 (7, 96, 96, 3))"):
        assert words in str(refused.value)
    floats = {"static": {"key": "img", "orientation": "upright", "role": "static"}}
    with pytest.raises(DatasetError, match=r"'img' are float32: state cameras\.static\.white"):
        imported("zarr", source=source, layout="pusht", instruction="", cameras=floats)
    floats["static"]["white"] = 1
    with pytest.raises(DatasetError, match=r"values from 0 to 1.*, and white is stated as 1"):
        imported("zarr", source=source, layout="pusht", instruction="", cameras=floats)
    with pytest.raises(ConfigurationError, match=r"no array 'robot0_eef_pos'. Known: action, img, state"):
        imported("zarr", source=source, layout="umi", instruction="")


def test_an_incomplete_copy_is_no_black_picture(tmp_path, imported):
    source = write_pusht(tmp_path / "a.zarr")
    (source / "data/img/1.0.0.0").unlink()
    with pytest.raises(DatasetError, match=r"a\.zarr/data/img: 1 chunk.*missing_chunks=fill"):
        imported("zarr", source=str(source), layout="pusht", instruction="")
    there = imported("zarr", "f", source=str(source), layout="pusht", instruction="", missing_chunks="fill")
    assert [p.mean() < 5 for p in there.pictures("static")] == [False] * 4 + [True] * 3
    (source / "data/img/0.0.0.0").write_bytes(b"none")
    with pytest.raises(DatasetError, match=r"img cannot be read"):
        imported("zarr", "g", source=str(source), layout="pusht", instruction="")


def test_ends_that_do_not_fit_are_refused(tmp_path, imported):
    import zarr

    source = write_pusht(tmp_path / "a.zarr")
    ends = zarr.open_group(str(source), mode="r+")["meta/episode_ends"]
    ends[:] = [3, 6]
    there = imported("zarr", source=str(source), layout="pusht", instruction="")
    assert there.record["statements"]["rows behind the last episode"]["value"] == 1
    ends[:] = [3, 9]
    with pytest.raises(DatasetError, match="state has 7 rows, and the episodes end at 9"):
        imported("zarr", "b", source=str(source), layout="pusht", instruction="")
    ends[:] = [3, 3]
    with pytest.raises(DatasetError, match="does not increase"):
        imported("zarr", "c", source=str(source), layout="pusht", instruction="")
    group = zarr.open_group(str(source), mode="r+")["meta"]
    group.create_array("episode_ends", shape=(2,), dtype="float64", overwrite=True)[:] = [3.5, 7.0]
    with pytest.raises(DatasetError, match="episode_ends holds float64, and the rows at which episodes end are whole"):
        imported("zarr", "e", source=str(source), layout="pusht", instruction="")
    with pytest.raises(DatasetError, match="no zarr store with 'data'"):
        imported("zarr", "d", source=str(tmp_path), layout="pusht", instruction="")
