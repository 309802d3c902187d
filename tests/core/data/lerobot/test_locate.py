import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from forehand.data.lerobot.locate import check_dataset, fingerprint, locate_dataset
from forehand.errors import DatasetError


@pytest.fixture
def copy(small_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_dataset, tmp_path / "copy"))


def change_info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_good_dataset_is_found_by_its_path(small_dataset: Path):
    assert check_dataset(small_dataset) == locate_dataset(str(small_dataset)) == small_dataset


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "data/sets/lift", "nowhere", "x" * 5000])
def test_a_wrong_path_is_reported_at_once(source: str, monkeypatch: pytest.MonkeyPatch):
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the hub was asked for a path")

    monkeypatch.setattr("forehand.data.lerobot.locate.download_dataset", never)
    with pytest.raises(DatasetError, match="no such folder") as error:
        locate_dataset(source)
    assert str(Path(source).absolute()) in str(error.value)


def test_what_may_be_a_repository_is_reported_as_neither_path_nor_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=r"no folder .*recordings/lift, and as a hub repository") as error:
        locate_dataset("recordings/lift")
    assert str(tmp_path) in str(error.value)


def test_a_folder_that_is_no_dataset(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"is not a LeRobotDataset: it has no meta/info\.json"):
        check_dataset(tmp_path)


def test_missing_keys_are_named(copy: Path):
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    change_info(copy, features={k: f for k, f in features.items() if k not in ("action", "observation.state")})
    with pytest.raises(DatasetError, match=r"lacks 'observation\.state'; it has"):
        check_dataset(copy)


def test_a_recording_without_finalize_is_recognised(copy: Path):
    table = next((copy / "data").rglob("*.parquet"))
    table.write_bytes(table.read_bytes()[:-8])  # what a writer leaves behind that was never closed
    with pytest.raises(DatasetError, match=r"never finalized: data/chunk-000/file-000\.parquet"):
        check_dataset(copy)


def test_episodes_without_their_table_were_never_finalized(copy: Path):
    shutil.rmtree(copy / "meta/episodes")
    with pytest.raises(DatasetError, match="never finalized: there is no table in meta/episodes"):
        check_dataset(copy)


def test_a_missing_video_is_named(copy: Path):
    shutil.rmtree(copy / "videos/observation.images.wrist")
    with pytest.raises(DatasetError, match=r"no video of 'observation\.images\.wrist'"):
        check_dataset(copy)


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(small_dataset: Path, copy: Path):
    before = fingerprint(small_dataset)
    assert fingerprint(copy) == before
    video = next((copy / "videos").rglob("*.mp4"))
    content = bytearray(video.read_bytes())
    content[len(content) // 2] ^= 1
    video.write_bytes(content)
    assert fingerprint(copy) != before


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"


@pytest.mark.parametrize(
    "name",
    [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/tasks.parquet",
        "videos/observation.images.static/chunk-000/file-000.mp4",
    ],
)
def test_a_git_lfs_pointer_is_recognised(copy: Path, name: str):
    (copy / name).write_text(POINTER)
    with pytest.raises(DatasetError, match=rf"{name} is a Git LFS pointer: .*Run git lfs pull") as error:
        check_dataset(copy)
    assert "finalized" not in str(error.value)


def test_missing_frames_were_there_once(copy: Path):
    shutil.rmtree(copy / "data")
    with pytest.raises(DatasetError, match=r"has no table in data/\. Fetch or copy it again") as error:
        check_dataset(copy)
    assert "finalized" not in str(error.value)
