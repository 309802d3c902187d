"""Frame stores: what they give, what they decode, what a budget removes, and what an interruption leaves."""

import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.child_process import ChildProcess
from torch.utils.data import DataLoader

from forehand.data.dataset import Dataset
from forehand.data.frame_cache import cache_folder
from forehand.data.frame_store import FrameRequest, FrameStore, budget, open_frame_store, parse_bytes
from forehand.data.frame_store.jpeg import JpegFrames
from forehand.data.frame_store.shards import ShardedFrames
from forehand.data.lerobot.frames import recorded_pictures
from forehand.data.source import Pictures
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, DatasetError
from forehand.utils.images import resize
from forehand.utils.in_use import release

TOTAL, SIZE = 40, (24, 32)


class DrawnPictures(Pictures):
    """Smooth pictures that all differ, computed; counts what is read."""

    key, root, total = "drawn", Path("/nowhere"), TOTAL

    def __init__(self, name: str = "drawn") -> None:
        self.name, self.decoded = name, list[int]()

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.decoded += numbers.tolist()
        rows, columns = np.mgrid[:48, :64]
        pictures = [np.stack([rows + 4 * n, columns + 3 * n, rows + columns], axis=-1) for n in numbers.tolist()]
        return np.stack(pictures).astype(np.uint8)

    def digest(self) -> str:
        return self.name


EXACT = resize(DrawnPictures().read(np.arange(TOTAL)), SIZE)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardedFrames, "per_shard", 16)


def opened(store: str, pictures: Pictures | None = None, numbers: Any = None, **options: Any):
    request = FrameRequest(pictures or DrawnPictures(), SIZE, numbers=None if numbers is None else np.array(numbers))
    return open_frame_store([request], FrameStore(store, **{"workers": 2, **options})).readers[0]


def shards() -> list[str]:
    return sorted(f.name for f in cache_folder().rglob("*") if f.suffix in (".npy", ".jpegs"))


INDICES = (3, -1, [0, 39, 20], [[5, 5], [6, 4]], slice(10, 30, 3), np.arange(39, -1, -1), [], [[7, 8, 9, 39, 39, 39]])


@pytest.mark.parametrize("store", ["raw", "video"])
@pytest.mark.parametrize("numbers", INDICES, ids=str)
def test_exact_stores_are_as_an_array_of_all_frames(store: str, numbers: Any):
    reader = opened(store)
    assert (len(reader), reader.shape, reader.dtype) == (TOTAL, EXACT.shape, EXACT.dtype)
    expected = EXACT[np.array(numbers, int) if isinstance(numbers, list) else numbers]
    assert reader[numbers].shape == expected.shape
    assert np.array_equal(reader[numbers], expected)
    with pytest.raises(IndexError, match="there are 40 frames of 'drawn'"):
        reader[40]


@pytest.mark.parametrize("numbers", INDICES, ids=str)
def test_jpeg_is_close_and_the_same_each_time(numbers: Any):
    reader = opened("jpeg")
    index = np.array(numbers, int) if isinstance(numbers, list) else numbers
    assert np.abs(reader[numbers].astype(int) - EXACT[index]).mean() < 2.5 if np.size(EXACT[index]) else True
    assert np.array_equal(reader[numbers], np.array(reader)[index])
    assert np.array_equal(reader[numbers], opened("jpeg", workers=1)[numbers])


def test_quality_is_stated_and_kept_apart():
    errors = [np.abs(opened("jpeg", quality=q)[:].astype(int) - EXACT).mean() for q in (30, 95)]
    assert errors[0] > 2 * errors[1] > 0
    assert len(shards()) == 6


def test_the_estimate_of_a_jpeg_store_is_near_what_it_takes():
    reader = opened("jpeg")
    assert isinstance(reader, JpegFrames)
    taken = sum(f.stat().st_size for f in cache_folder().rglob("*.jpegs"))
    assert taken <= reader.byte_size(range(3)) <= 1.5 * taken


@pytest.mark.parametrize("store", ["raw", "jpeg"])
def test_only_shards_that_are_used_are_decoded(store: str):
    pictures = DrawnPictures()
    reader = opened(store, pictures, numbers=[17, 39])
    assert len(shards()) == 2
    if store == "raw":
        assert sorted(pictures.decoded) == [*range(16, 32), *range(32, 40)]
    reader[[17, 18, 32]]
    assert len(shards()) == 2
    reader[[2]]  # what is asked for unannounced is decoded then
    assert len(shards()) == 3
    pictures.decoded.clear()
    opened(store, pictures)
    assert not pictures.decoded


def test_windows_of_chosen_episodes_decode_their_shards(small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ShardedFrames, "per_shard", 7)
    options: dict[str, Any] = {"history": 2, "chunk": 1, "horizon": 1, "image_size": (24, 32), "cameras": ["static"]}
    WindowDataset(Dataset.open(small_dataset), episodes=[0], **options)
    assert shards() == ["0000000000-0000000007.npy"]
    WindowDataset(Dataset.open(small_dataset), episodes=[2], **options)
    assert len(shards()) == 3


def test_batches_are_the_same_from_all_exact_stores_and_close_in_jpeg(small_dataset: Path):
    data = Dataset.open(small_dataset)
    options: dict[str, Any] = {"history": 4, "chunk": 3, "horizons": (0, 2), "image_size": 20}
    raw, video, jpeg = (WindowDataset(data, frames=store, **options) for store in ("raw", "video", "jpeg"))
    some = np.random.default_rng(0).integers(0, len(raw), 16)
    for side, values in raw.batch(some).items():
        for key, value in values.items():
            if torch.is_tensor(value):
                assert torch.equal(value, video.batch(some)[side][key])
                other = jpeg.batch(some)[side][key]
                assert torch.equal(other, jpeg.batch(some)[side][key])
                assert (other.float() - value.float()).abs().max() <= (3 if value.dtype == torch.uint8 else 0)
    assert [w.opened_frames.store for w in (raw, video, jpeg)] == ["raw", "video", "jpeg"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_processes_read_from_videos(small_dataset: Path, method: str):
    windows = WindowDataset(Dataset.open(small_dataset), frames="video", history=2, chunk=1, horizon=None, image_size=20)
    expected = windows.batch([3, 12])  # opens videos here, too
    if method == "spawn":
        windows = pickle.loads(pickle.dumps(windows))
        assert torch.equal(
            windows.batch([3, 12])["observation"]["images.static"], expected["observation"]["images.static"]
        )
        return
    subset = torch.utils.data.Subset(windows, [3, 12])
    (batch,) = DataLoader(subset, batch_size=2, num_workers=1, multiprocessing_context=method, collate_fn=windows.collate)
    assert torch.equal(batch["observation"]["images.static"], expected["observation"]["images.static"])


# ---- what fits -----------------------------------------------------------------------------------------------------

RAW_BYTES = 40 * 24 * 32 * 3  # and three headers


@pytest.mark.parametrize(
    ("limit", "store", "why"),
    [
        (None, "raw", r"0\.1 MB to be decoded, room for .* in .*frames"),
        ("1MB", "raw", r"by cache_budget=1\.0 MB"),
        (RAW_BYTES - 1, "jpeg", r"raw would need 0\.1 MB"),
        (1000, "video", r"raw would need 0\.1 MB; jpeg would need 0\.0 MB"),
    ],
)
def test_auto_takes_the_first_store_that_fits(limit: Any, store: str, why: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    found = open_frame_store([FrameRequest(DrawnPictures(), SIZE)], FrameStore("auto", budget=limit))
    assert found.store == store
    assert re.search(why, found.why)
    assert f"frames={store}" in caplog.text
    assert found.readers[0].shape == EXACT.shape


def test_auto_takes_what_is_stored_whatever_the_budget():
    opened("raw")
    found = open_frame_store([FrameRequest(DrawnPictures(), SIZE)], FrameStore("auto", budget=10))
    assert (found.store, found.why) == ("raw", "stored already")


HOLDER = """
import sys
from pathlib import Path
from forehand.utils.in_use import hold
for path in sys.argv[1:]:
    hold(Path(path))
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_process() -> Iterator[Any]:
    """Begins a process that uses some cached frames."""
    running = []

    def hold(*paths: Path) -> ChildProcess:
        words = [sys.executable, "-c", HOLDER, *map(str, paths)]
        process = ChildProcess(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        return process

    yield hold
    for process in running:
        process.end()


def stored_earlier(name: str, used: float) -> Path:
    """Frames that no process uses any more, and that were used last at ``used``."""
    folder: Path = opened("raw", DrawnPictures(name)).folder
    release(folder / "used")
    os.utime(folder / "used", (used, used))
    return folder


def test_what_was_not_used_for_longest_makes_room(other_process: Any):
    now = time.time()
    old, older, held = (stored_earlier(name, now - age) for name, age in (("a", 100), ("b", 200), ("c", 300)))
    other_process(held / "used")
    opened("raw", budget=int(3.5 * RAW_BYTES))
    counts = [len(list(folder.glob("*.npy"))) for folder in (old, older, held)]
    assert counts[0] == counts[2] == 3
    assert counts[1] < 3
    reader = opened("raw", DrawnPictures("b"), budget="1GB")  # what was removed is decoded again
    assert np.array_equal(reader[:], EXACT)


def test_frames_that_do_not_fit_are_refused_by_name(other_process: Any):
    held = stored_earlier("a", time.time())
    process = other_process(held / "used")
    with pytest.raises(DatasetError, match=r"'drawn' need 0\.1 MB in .* no room .*cache_budget=0\.1 MB.*frames=jpeg"):
        opened("raw", budget=int(1.2 * RAW_BYTES))
    process.kill()
    process.communicate()
    assert np.array_equal(opened("raw", budget=int(1.2 * RAW_BYTES))[:], EXACT)
    assert not list(held.glob("*.npy"))


def test_a_full_disk_is_noticed_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch):
    pictures = DrawnPictures()
    usage = type("usage", (), {"total": 10**12, "used": 10**12, "free": 1000})
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DatasetError, match=r"No space left on device"):
        opened("raw", pictures)
    assert not pictures.decoded


# ---- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["raw", "jpeg"])
def test_an_interrupted_decoding_keeps_finished_shards_and_nothing_else(store: str):
    class Interrupted(DrawnPictures):
        def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
            if 20 in numbers and self.decoded and max(self.decoded) >= 15:
                raise KeyboardInterrupt
            return super().read(numbers)

    pictures = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        opened(store, pictures, workers=1)
    if store == "raw":
        assert len(shards()) == 1
    assert not list(cache_folder().rglob("*.partial"))
    again = DrawnPictures()
    reader = opened(store, again, workers=1)
    if store == "raw":
        assert min(again.decoded) == 16
    assert np.abs(reader[:].astype(int) - EXACT).mean() < 2.5


SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from forehand.data.frame_store import FrameRequest, FrameStore, open_frame_store
from forehand.data.frame_store.shards import ShardedFrames
from forehand.data.source import Pictures
class Slow(Pictures):
    key, root, total = "drawn", Path("/nowhere"), 40
    def read(self, numbers):
        if 20 in numbers:
            Path(sys.argv[1]).touch()
            time.sleep(600)
        return np.full((len(numbers), 24, 32, 3), 9, np.uint8)
    def digest(self):
        return "drawn"
ShardedFrames.per_shard = 16
open_frame_store([FrameRequest(Slow(), (24, 32))], FrameStore("raw", workers=1))
"""


def test_a_killed_decoding_goes_on_with_its_finished_shards(tmp_path: Path):
    reached = tmp_path / "reached"
    process = ChildProcess([sys.executable, "-c", SLOW, str(reached)])
    process.wait_until(reached.exists)
    process.end()
    assert list(cache_folder().rglob("*.partial"))
    pictures = DrawnPictures()
    reader = opened("raw", pictures)
    assert (reader[:16] == 9).all()
    assert np.array_equal(reader[16:], EXACT[16:])
    assert min(pictures.decoded) == 16
    assert not list(cache_folder().rglob("*.partial"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, zero, flip_a_bit])
@pytest.mark.parametrize("store", ["raw", "jpeg"])
def test_a_shard_that_was_damaged_is_decoded_again(store: str, damage: Any, caplog: pytest.LogCaptureFixture):
    before = opened(store)[:]
    damaged = next(cache_folder().rglob("*16-*[ys]"))
    damage(damaged)
    pictures = DrawnPictures()
    assert np.array_equal(opened(store, pictures)[:], before)
    assert set(range(16, 32)) <= set(pictures.decoded)
    if store == "raw":
        assert set(pictures.decoded) == set(range(16, 32))
    assert f"{damaged} is damaged: its frames are decoded again" in caplog.text


def test_a_shard_that_was_copied_or_has_no_checksum_is_taken_as_it_is(caplog: pytest.LogCaptureFixture):
    opened("raw")
    for shard in cache_folder().rglob("*.npy"):
        shard.write_bytes(shard.read_bytes())  # another time
        os.utime(shard, ns=(1, 1))
    pictures = DrawnPictures()
    assert np.array_equal(opened("raw", pictures)[:], EXACT)
    for noted in cache_folder().rglob("*.sum"):
        assert '"time": 1' in noted.read_text(), "it is read once, not each time"
        noted.unlink()
    assert np.array_equal(opened("raw", pictures)[:], EXACT)
    assert not pictures.decoded
    assert "damaged" not in caplog.text


def test_pictures_in_videos_are_decoded_by_several_threads_as_by_one(small_dataset: Path):
    pictures = recorded_pictures(small_dataset, "observation.images.static")
    stored = [opened(store, pictures, workers=n) for store in ("raw", "video") for n in (1, 3)]
    assert all(np.array_equal(stored[0][:], other[:]) for other in stored[1:])


# ---- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "count"), [(5, 5), ("50GB", 50 * 10**9), ("1.5 MB", 1_500_000), ("2GiB", 2**31), ("7", 7), ("1TB", 10**12)]
)
def test_bytes_are_read_in_units(given: Any, count: int):
    assert parse_bytes(given) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "zip"}, "there is no store 'zip'"),
        ({"quality": 0}, "jpeg_quality is a whole number from 1 to 100, not 0"),
        ({"workers": 0}, "decode_workers is a number of threads, or null, not 0"),
        ({"budget": "much"}, "cache_budget is a number of bytes, as 50GB or 500MB, not 'much'"),
        ({"budget": "5 potatoes"}, "cache_budget"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError, match=message):
        FrameStore(**options)
