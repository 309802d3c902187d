"""Plain video: every file an episode, its sentence beside it, and neither actions nor states."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from forehand.data.checking.checker import check_dataset
from forehand.errors import ConfigurationError, DatasetError
from forehand.utils.video import Encoding, VideoWriter


def film(path: Path, count: int, rate: int = 30, size: tuple[int, int] = (48, 64), first: int = 20) -> Path:
    """A video whose frame i has the gray level ``first`` + 5 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = VideoWriter(path, Fraction(rate), *size, Encoding(crf=0))
    for i in range(count):
        writer.write(np.full((*size, 3), first + 5 * i, np.uint8))
    writer.close()
    return path


def levels(pictures) -> list[int]:
    return [round(float(picture.mean())) for picture in pictures]


def test_videos_become_episodes_without_actions_and_states(tmp_path, imported):
    for name, count, sentence in (("take_2", 12, "lift the cup"), ("take_10", 9, "push the bowl")):
        film(tmp_path / f"in/{name}.mp4", count).with_suffix(".txt").write_text(f"{sentence}\n")
    there = imported("video", source=str(tmp_path / "in"), rate=10)
    assert [row["forehand/source"] for row in there.rows] == ["take_2", "take_10"]
    assert [row["length"] for row in there.rows] == [4, 3]
    assert there.source.episodes.tasks == ("lift the cup", "push the bowl")
    assert there.contract.action == there.contract.state == ()
    assert there.contract.rate == 10
    np.testing.assert_allclose(levels(there.pictures("static")), [20, 35, 50, 65, 20, 35, 50], atol=2)
    assert not there.source.episodes.has_action.any()
    assert "rate" in there.record["statements"]
    assert check_dataset("video", there.source, "all").counts["error"] == 0


def test_cameras_lie_in_folders_and_the_middle_of_their_pictures_is_taken(tmp_path, imported):
    film(tmp_path / "in/front/a.mp4", 3)
    film(tmp_path / "in/hand/a.mp4", 3, size=(64, 64), first=100)
    there = imported(
        "video",
        source=str(tmp_path / "in"),
        cameras={"static": "front", "wrist": "hand"},
        size=[32, 32],
        instruction="",
    )
    assert [(c.name, c.height, c.width, c.role) for c in there.contract.cameras] == [
        ("static", 32, 32, "static"),
        ("wrist", 32, 32, "wrist"),
    ]
    assert there.contract.rate == 30
    np.testing.assert_allclose(levels(there.pictures("wrist")), [100, 105, 110], atol=2)
    assert there.record["statements"]["rate"]["origin"] == "the video files"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"instruction=…  what is said in videos without a text file, as 'a'"),
        ({"instruction": "", "rate": 60}, "rate=60 is more than the 25 frames a second"),
        ({"instruction": ""}, r"rate=…  frames a second, in Hz; the files have 25, 30"),
        ({"instruction": "", "rate": 5}, r"different sizes: 48 × 64 \(a\), 32 × 64 \(b\). Give size="),
        ({"instruction": "", "rate": 5, "cameras": {"static": "front"}}, "There is no folder of videos .*front"),
    ],
)
def test_what_the_files_do_not_say_has_to_be_given(tmp_path, imported, options, words):
    film(tmp_path / "in/a.mp4", 3)
    film(tmp_path / "in/b.mp4", 3, rate=25, size=(32, 64))
    with pytest.raises((ConfigurationError, DatasetError), match=words):
        imported("video", source=str(tmp_path / "in"), **options)


def test_a_video_that_cannot_be_decoded_is_named(tmp_path, imported):
    film(tmp_path / "in/a.mp4", 3)
    (tmp_path / "in/b.mp4").write_bytes(b"no video")
    with pytest.raises(DatasetError, match=r"b\.mp4 cannot be decoded"):
        imported("video", source=str(tmp_path / "in"), instruction="")
