import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from forehand.errors import DatasetError
from forehand.utils.video import decode
from forehand.utils.video_reader import VideoReader, VideoReaders

RATE, COUNT = 20, 90
ENCODINGS = {
    "every second a key frame": ("h264", {"g": "2", "bf": "0"}),
    "one key frame": ("h264", {"g": "250", "bf": "0"}),
    "frames that refer to later ones": ("h264", {"g": "12", "bf": "3"}),
    "open groups of pictures": ("libx265", {"g": "12", "bf": "3", "x265-params": "open-gop=1:log-level=none:pools=1"}),
    "AV1": ("libsvtav1", {"g": "7", "preset": "12", "svtav1-params": "lp=1"}),
}


def encode(path: Path, codec: str, options: dict[str, str], times: Any = None) -> Path:
    """A video of a moving pattern; its frames come at ``times`` in seconds, or at 20 Hz."""
    times = np.arange(COUNT) / RATE if times is None else times
    if codec not in av.codecs_available:
        pytest.skip(f"no {codec}")
    rows, columns = np.mgrid[:48, :64]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, RATE, options={"threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, time in enumerate(times):
            pixels = np.stack([rows * 3 + i, columns * 2 + 5 * i, rows + columns + 9 * i], axis=-1) % 256
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Encodes a video once."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name: str) -> Path:
        path = folder / f"{name}.mp4"
        return path if path.exists() else encode(path, *ENCODINGS[name])

    return make


@pytest.mark.parametrize("name", ENCODINGS)
def test_frames_read_at_random_are_those_of_the_whole_video(video: Callable[[str], Path], name: str):
    path = video(name)
    whole = np.stack([pixels for _, pixels in decode(path)])
    assert len(whole) == COUNT
    reader, random = VideoReader(path, RATE), np.random.default_rng(0)
    wanted = [[0], [COUNT - 1], [5], [5], list(range(3, 14)), list(range(COUNT)), [0, COUNT - 1]]
    wanted += [sorted(random.choice(COUNT, 6, replace=False).tolist()) for _ in range(10)]
    for places in wanted:
        pixels, lacking = reader.read(places)
        assert not lacking
        assert np.array_equal(pixels, whole[places])


def test_of_frames_close_in_time_the_nearest_is_read(tmp_path: Path):
    even = np.arange(20) / RATE
    times = np.sort(np.concatenate([even, even[::2] + 0.022, even[1::2] - 0.015]))
    path = encode(tmp_path / "video.mp4", "h264", {"g": "5", "bf": "0"}, times)
    found = list(decode(path))
    whole = np.stack([found[int(np.flatnonzero(np.isclose(times, t))[0])][1] for t in even])
    reader = VideoReader(path, RATE)
    for places in (list(range(20)), [7], [6], [19], [3, 4]):
        assert np.array_equal(reader.read(places)[0], whole[places])


def test_places_without_a_frame_are_listed(tmp_path: Path):
    path = encode(tmp_path / "video.mp4", "h264", {"g": "2", "bf": "0"}, np.delete(np.arange(20), [4, 9]) / RATE)
    reader = VideoReader(path, RATE)
    assert reader.read([9])[1] == [9]
    assert reader.read([3, 4, 5, 9, 10, 25])[1] == [4, 9, 25]
    assert reader.read([18, 19])[1] == []


def test_several_threads_share_open_videos(video: Callable[[str], Path]):
    path = video("one key frame")
    whole, readers = np.stack([pixels for _, pixels in decode(path)]), VideoReaders(most=2)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for first in np.random.default_rng(seed).integers(0, COUNT - 5, 8).tolist():
            with readers.open(path, RATE, first) as reader:
                if not np.array_equal(reader.read(range(first, first + 5))[0], whole[first : first + 5]):
                    wrong.append(first)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_least_recently_used_video_is_closed(tmp_path: Path, video: Callable[[str], Path]):
    readers, content = VideoReaders(most=2), video("AV1").read_bytes()
    paths = [tmp_path / f"{number}.mp4" for number in range(3)]
    opened = []
    for path in paths:
        path.write_bytes(content)
        with readers.open(path, RATE) as reader:
            opened.append(reader)
    for path, before, same in zip(reversed(paths), reversed(opened), (True, True, False), strict=True):
        with readers.open(path, RATE) as reader:
            assert (reader is before) == same


def test_a_damaged_video_is_named_and_not_kept_open(tmp_path: Path, video: Callable[[str], Path]):
    content, path, readers = video("one key frame").read_bytes(), tmp_path / "video.mp4", VideoReaders()
    path.write_bytes(content[:200])
    with pytest.raises(DatasetError, match=r"video\.mp4 cannot be decoded"), readers.open(path, RATE):
        pass


def test_a_file_that_took_the_place_of_another_is_opened_anew(tmp_path: Path, video: Callable[[str], Path]):
    path, readers = tmp_path / "video.mp4", VideoReaders()
    for name in ("AV1", "one key frame"):
        (tmp_path / "new.mp4").write_bytes(video(name).read_bytes())
        (tmp_path / "new.mp4").replace(path)
        with readers.open(path, RATE) as reader:
            assert np.array_equal(reader.read([0])[0][0], next(decode(video(name)))[1])
