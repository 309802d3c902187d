"""Checks of images: that they can be decoded, their size, and black, uniform, frozen and repeated ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Camera
from forehand.data.checking.findings import ERROR, NOTE, WARNING, Finding, finding
from forehand.data.checking.table import FrameTable
from forehand.data.source import DataSource
from forehand.errors import DatasetError

BLACK = 16
"""The lightest level of a black image, of 255."""

UNIFORM = 1.5
"""Standard deviation of levels up to which an image is of one colour."""

FROZEN_SECONDS = 0.5
"""Time for which an image stays the same, while the robot moves, from which on it is frozen."""

REPEATED = 0.2
"""Share of images that equal the one before, while the robot moves, from which on a camera is slower than the rate."""

SAME = 1.5
"""Largest change of the mean of any block of pixels up to which two images show the same."""

MOST_LOOKS = 4096
"""Frames, from the first on, that cameras are compared by."""

_AT_ONCE = 64  # frames that are read together
_GRID, _BLOCK, _LOOK = 4, 8, 4  # every fourth pixel; pixels of a block's side; parts of a side by which cameras compare


@dataclass
class ImageLevels:
    """What was found in the images of one camera, by frame of the table: (N,) each.

    seen: which were decoded; high: the lightest level; spread: standard deviation of levels; same: whether it shows what
    the image before it shows; looks: a few mean levels of the first :data:`MOST_LOOKS`; size: (height, width).
    """

    seen: NDArray[np.bool_]
    high: NDArray[np.uint8]
    spread: NDArray[np.float32]
    same: NDArray[np.bool_]
    looks: NDArray[np.float32]
    size: tuple[int, int] | None = None
    _last: tuple[int, NDArray[np.float32]] | None = None

    @classmethod
    def of(cls, frames: int) -> ImageLevels:
        """Of ``frames`` frames, none of which was decoded yet."""
        seen, high, spread, same = (np.zeros(frames, kind) for kind in (bool, np.uint8, np.float32, bool))
        return cls(seen, high, spread, same, np.full((min(frames, MOST_LOOKS), _LOOK * _LOOK * 3), np.nan, np.float32))

    def add(self, rows: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """Note the images (n, H, W, 3) of ``rows``; a row is compared with the one before it where they come in order."""
        if not len(rows):
            return
        self.size = self.size or (pixels.shape[1], pixels.shape[2])
        few = pixels[:, ::_GRID, ::_GRID].reshape(len(pixels), -1)
        self.seen[rows] = True
        self.high[rows], self.spread[rows] = few.max(axis=1), few.std(axis=1)
        means = _block_means(pixels, *(max(1, size // _BLOCK) for size in self.size))
        before = means[:1] if self._last is None else self._last[1]
        previous = np.concatenate([[-2 if self._last is None else self._last[0]], rows[:-1]])
        change = np.abs(means - np.concatenate([before, means[:-1]])).max(axis=1)
        self.same[rows] = (change <= SAME) & (rows == previous + 1)
        self._last = int(rows[-1]), means[-1:]
        if (early := rows < len(self.looks)).any():
            self.looks[rows[early]] = _block_means(pixels[early], _LOOK, _LOOK)


def _block_means(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
    """Mean levels of ``rows`` × ``columns`` parts of each image, (n, rows · columns · 3): noise of a codec vanishes."""
    height, width = (max(1, size // count) for size, count in ((pixels.shape[1], rows), (pixels.shape[2], columns)))
    inside = pixels[:, : rows * height, : columns * width]
    parts = inside.reshape(len(pixels), inside.shape[1] // height, height, inside.shape[2] // width, width, 3)
    means: NDArray[np.float32] = parts.mean(axis=(2, 4), dtype=np.float32).reshape(len(pixels), -1)
    return means


def check_images(
    source: DataSource,
    table: FrameTable,
    still: NDArray[np.bool_],
    episodes: Sequence[int],
    show: Callable[[int, str], None] = lambda done, words: None,
) -> Iterator[Finding]:
    """All findings about the images of ``episodes``, positions in ``table``.

    ``still``: :func:`forehand.data.checking.motion.still_frames`. ``show``: called with the frames that are decoded, of
    all cameras, and the camera's name.
    """
    total = int(table.lengths[list(episodes)].sum())
    cameras: dict[str, ImageLevels] = {}
    for number, camera in enumerate(source.contract.cameras):
        before = number * total

        def show_all(done: int, before: int = before, words: str = camera.name) -> None:
            show(before + done, words)

        found = cameras[camera.name] = ImageLevels.of(len(table))
        yield from _decode(source, table, camera, found, episodes, show_all)
        found.same[table.starts[:-1]] = False
        yield from _size(camera, found)
        yield from _blank(table, camera, found)
        yield from _frozen(table, camera, found, still)
    yield from _same_cameras(cameras)


def sample_episodes(table: FrameTable, count: int, seed: int = 0) -> list[int]:
    """Positions of up to ``count`` episodes: the first, the last, and others drawn by ``seed``."""
    total = len(table.numbers)
    if total <= count:
        return list(range(total))
    drawn = np.random.default_rng(seed).permutation(total).tolist()
    return sorted(list(dict.fromkeys([0, total - 1, *drawn]))[:count])


def _decode(
    source: DataSource,
    table: FrameTable,
    camera: Camera,
    found: ImageLevels,
    episodes: Sequence[int],
    show: Callable[[int], None],
) -> Iterator[Finding]:
    """Note the images of ``episodes``, one after the other, so that what is damaged in one hides no other."""
    numbers = source.frame_numbers
    unreadable: dict[int, str] = {}
    done = 0
    try:
        pictures = source.pictures(camera.name)
    except DatasetError as error:
        yield finding("unreadable_images", ERROR, str(error), column=camera.name)
        return
    for episode in episodes:
        first, last = int(table.starts[episode]), int(table.starts[episode + 1])
        try:
            for start in range(first, last, _AT_ONCE):
                rows = np.arange(start, min(start + _AT_ONCE, last))
                found.add(rows, pictures.read(rows if numbers is None else numbers[rows]))
                show(done + int(rows[-1]) + 1 - first)
        except DatasetError as error:
            unreadable[episode] = str(error)
        done += last - first
    if unreadable:
        positions = np.array(list(unreadable))
        yield finding(
            "unreadable_images",
            ERROR,
            f"images of {camera.name} cannot be read in {len(unreadable)} episodes: {next(iter(unreadable.values()))}",
            column=camera.name,
            places=table.episodes(positions),
            count=len(positions),
        )


def _size(camera: Camera, found: ImageLevels) -> Iterator[Finding]:
    if found.size and found.size != (camera.height, camera.width):
        yield finding(
            "image_size",
            ERROR,
            f"images of {camera.name} have {found.size[0]} × {found.size[1]} pixels, and "
            f"{camera.height} × {camera.width} by the contract (height × width)",
            "Correct the contract and the shape in meta/info.json.",
            camera.name,
        )


def _blank(table: FrameTable, camera: Camera, found: ImageLevels) -> Iterator[Finding]:
    black = found.seen & (found.high <= BLACK)
    uniform = found.seen & (found.spread <= UNIFORM) & ~black
    total = int(found.seen.sum())
    for check, mask, words in (("black_images", black, "black"), ("uniform_images", uniform, "of one colour")):
        begin, lengths = table.runs(mask, 1)
        if len(begin):
            yield finding(
                check,
                WARNING,
                f"{int(mask.sum())} of {total} images of {camera.name} are {words}",
                "Leave these episodes out, or look at the camera: it gave no image.",
                camera.name,
                table.places(begin, lengths),
                len(begin),
            )


def _frozen(table: FrameTable, camera: Camera, found: ImageLevels, still: NDArray[np.bool_]) -> Iterator[Finding]:
    moving = np.concatenate([[False], ~still[:-1]])
    begin, lengths = table.runs(found.same, max(5, round(FROZEN_SECONDS * table.rate)))
    moved = np.concatenate([[0], np.cumsum(moving)])
    frozen = (moved[begin + lengths] - moved[begin]) >= 0.5 * lengths
    begin, lengths = begin[frozen], lengths[frozen]
    if len(begin):
        yield finding(
            "frozen_images",
            WARNING,
            f"images of {camera.name} stand still for up to {lengths.max() / table.rate:.1f} s while the robot moves, "
            f"{len(begin)} times",
            "Look at the camera and at its connection: it gave an old image again.",
            camera.name,
            table.places(begin, lengths),
            len(begin),
        )
        return
    compared = moving & found.seen
    compared[1:] &= found.seen[:-1] & table.inside
    share = float(found.same[compared].mean()) if compared.any() else 0.0
    if share >= REPEATED:
        yield finding(
            "repeated_images",
            NOTE,
            f"{100 * share:.0f} % of the images of {camera.name} equal the one before while the robot moves",
            "The camera may be slower than the recording: record at its rate, or drop frames.",
            camera.name,
        )


def _same_cameras(cameras: Mapping[str, ImageLevels]) -> Iterator[Finding]:
    names = list(cameras)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a, b = cameras[one], cameras[other]
            there = ~np.isnan(a.looks[:, 0]) & ~np.isnan(b.looks[:, 0]) & (a.spread[: len(a.looks)] > UNIFORM)
            if there.sum() > 1 and np.abs(a.looks[there] - b.looks[there]).max() <= SAME:
                yield finding(
                    "same_cameras",
                    WARNING,
                    f"the cameras {one} and {other} have the same images",
                    "One of them was recorded twice: leave it out.",
                    other,
                )
