"""Pictures in video files that episodes share or have to themselves, read at random."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.content_digest import content_digest
from forehand.data.frame_cache import missing_frames
from forehand.data.lerobot.consistency import irregularity
from forehand.data.source import Pictures
from forehand.errors import DatasetError
from forehand.utils import video
from forehand.utils.video_reader import READERS


@dataclass(frozen=True)
class VideoSpans:
    """Where the frames of one camera are, a row for each of E episodes.

    files: names of the videos, below the dataset's folder. file: (E,), positions in ``files``. start: (E,), seconds from
    the beginning of the video. first, last: (E,), numbers of the episode's first frame, and one past the last.
    """

    files: Sequence[str]
    file: NDArray[np.int64]
    start: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True)
class VideoPictures(Pictures):
    """Images of one camera in videos; ``rate`` in Hz.

    A frame of the dataset is the video's frame that is nearest in time, and less than half a frame away.
    """

    root: Path
    key: str
    total: int
    rate: float
    spans: VideoSpans

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See :meth:`forehand.data.source.Pictures.read`."""
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]
        file, place = self._locate(ascending)
        # Episodes need not be in their videos in the order of the tables.
        by_place = np.lexsort((place, file))
        order, file, place = order[by_place], file[by_place], place[by_place]
        found: NDArray[np.uint8] | None = None
        for where in np.split(np.arange(len(order)), np.flatnonzero(np.diff(file)) + 1):
            pixels = self._read_file(int(file[where[0]]), place[where])
            if found is None:
                found = np.empty((len(numbers), *pixels.shape[1:]), np.uint8)
            if pixels.shape[1:] != found.shape[1:]:
                raise self._unequal(int(file[where[0]]), pixels.shape, found.shape)
            found[order[where]] = pixels
        assert found is not None
        return found

    def digest(self) -> str:
        """See :meth:`forehand.data.source.Pictures.digest`."""
        spans, by_file = self.spans, dict[str, list[Any]]()
        rows = zip(spans.file.tolist(), spans.start.tolist(), spans.first.tolist(), spans.last.tolist(), strict=True)
        for file, *row in rows:
            by_file.setdefault(spans.files[file], []).append(row)
        about = json.dumps([self.key, self.total, self.rate, by_file])
        return content_digest(self.root, [self.root / name for name in by_file], about)

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """First and last frames, videos, and the place of the first frame there, of all episodes by their first frame."""
        spans = self.spans
        begin = np.round(spans.start * self.rate).astype(np.int64)
        length = spans.last - spans.first
        order = np.lexsort((begin, spans.file))
        ends = (begin + length)[order]
        same = spans.file[order][1:] == spans.file[order][:-1]
        if len(shared := np.flatnonzero(same & (begin[order][1:] < ends[:-1]))):
            path = self.root / spans.files[spans.file[order[shared[0]]]]
            raise DatasetError(
                f"Two episodes claim the same frames of {path}: the column from_timestamp in meta/episodes is wrong. "
                f"Fetch or copy the dataset again, whole."
            )
        order = np.argsort(spans.first, kind="stable")
        return spans.first[order], spans.last[order], spans.file[order], begin[order]

    def _locate(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The video of each frame, and its place there, (n,) each."""
        first, last, file, begin = self._index
        row = np.searchsorted(first, numbers, side="right") - 1
        if len(lost := np.flatnonzero((row < 0) | (numbers >= last[row]))):
            count = self.total - int((last - first).sum())
            why = f"no episode has frame {int(numbers[lost[0]])}"
            raise missing_frames(self.root, self.key, self.total, max(count, len(lost)), why)
        return file[row], begin[row] + numbers - first[row]

    def _read_file(self, file: int, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        path = self.root / self.spans.files[file]
        wanted, back = np.unique(places, return_inverse=True)
        with READERS.open(path, self.rate, int(wanted[0])) as reader:
            pixels, lacking = reader.read(wanted.tolist())
        if lacking:
            raise self._short_video(file, path)
        return pixels if len(wanted) == len(places) else pixels[back]

    def _short_video(self, file: int, path: Path) -> DatasetError:
        """Why a video does not have the frames that it should."""
        name, spans = self.spans.files[file], self.spans
        times = np.array([time for time, _ in video.decode(path)])
        here = spans.file == file
        begin = np.round(spans.start[here] * self.rate).astype(np.int64)
        due = np.concatenate([b + np.arange(n) for b, n in zip(begin, (spans.last - spans.first)[here], strict=True)])
        places = np.round(times * self.rate)
        lacking = int((~np.isin(due, places[np.abs(times * self.rate - places) < 1])).sum())
        if found := irregularity(times, self.rate):
            frame, how = found
            return DatasetError(
                f"The timestamps of {name} in the dataset at {self.root} are not those of {self.rate:g} frames a "
                f"second: at its frame {frame} (counted from 0), {how}. {lacking} frames have no time; fetching it again "
                f"does not help. Encode it again at an even rate, correct the fps of meta/info.json, or leave its "
                f"episodes out (lerobot-edit-dataset)."
            )
        why = f"{name} ends after {len(times)} frames, and {int(due.max()) + 1} are due"
        return missing_frames(self.root, self.key, self.total, lacking, why)

    def _unequal(self, file: int, found: Sequence[Any], before: Sequence[Any]) -> DatasetError:
        return DatasetError(
            f"{self.spans.files[file]} in the dataset at {self.root} has pictures of {found[1]} × {found[2]} pixels, and "
            f"other videos of {self.key!r} {before[1]} × {before[2]}. Encode them again at one size."
        )
