"""Video files, through PyAV."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError, DatasetError

_LARGEST_CRF = {"h264": 51, "hevc": 51}
_LARGEST_GOP = 100_000


@dataclass(frozen=True)
class Encoding:
    """How frames become video.

    H.264 takes half a millisecond for a frame of 128 × 128 where AV1, LeRobot's default, takes four. A key frame every
    second frame (``gop``) keeps random access cheap; without B-frames, files can be joined as they are. ``crf``: 0 is
    lossless, each 6 more halve the file.
    """

    codec: str = "h264"
    pixel_format: str = "yuv420p"
    gop: int = 2
    crf: int = 18
    preset: str | None = "veryfast"

    def __post_init__(self) -> None:
        if self.codec not in av.codecs_available:
            raise ConfigurationError(f"This build of FFmpeg has no codec {self.codec!r}. Use video.codec=h264.")
        largest = _LARGEST_CRF.get(self.canonical_codec, 63)
        for name, value, low, high in (("crf", self.crf, 0, largest), ("gop", self.gop, 1, _LARGEST_GOP)):
            if type(value) is not int or not low <= value <= high:
                raise ConfigurationError(
                    f"video.{name} is a whole number from {low} to {high} for {self.codec}, not {value!r}."
                )

    @property
    def canonical_codec(self) -> str:
        """The name of the format: ``av1`` for the encoder ``libsvtav1``."""
        return str(av.Codec(self.codec, "w").canonical_name)

    def options(self) -> dict[str, str]:
        """For the encoder. One thread each: episodes, not slices of small frames, are what runs in parallel."""
        options = {"g": str(self.gop), "crf": str(self.crf), "bf": "0", "threads": "1"}
        return options if self.preset is None else options | {"preset": self.preset}

    def describe(self) -> dict[str, Any]:
        """The part of a feature's ``info`` in which LeRobot notes how a video was made."""
        return {
            "video.pix_fmt": self.pixel_format,
            "video.g": self.gop,
            "video.crf": self.crf,
            "video.preset": self.preset,
            "video.fast_decode": 0,
            "video.video_backend": "pyav",
            "video.extra_options": {"bf": "0"},
        }


class VideoWriter:
    """Encodes frames as they come, into a file at a path or one that is open for writing."""

    def __init__(self, path: Path | BinaryIO, rate: int | Fraction, height: int, width: int, encoding: Encoding) -> None:
        self._container = av.open(str(path) if isinstance(path, Path) else path, "w", format="mp4")
        stream: Any = self._container.add_stream(encoding.codec, rate, options=encoding.options())
        self._stream = stream
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = encoding.pixel_format
        self._time_base = Fraction(1, rate)
        self._count = 0

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append one frame (H, W, 3) RGB."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts, frame.time_base = self._count, self._time_base
        self._container.mux(self._stream.encode(frame))
        self._count += 1

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def abandon(self) -> None:
        """Close without finishing the file, for one that is discarded."""
        self._container.close()


@functools.lru_cache
def require_encodable(rate: int, height: int, width: int, encoding: Encoding, what: str) -> None:
    """Raise :class:`ConfigurationError` unless frames of this size can be encoded; one black frame is, in memory.

    what: whose frames they are, for the error.
    """
    try:
        pixels = av.VideoFormat(encoding.pixel_format)
        if width % (2 // pixels.chroma_width(2)) or height % (2 // pixels.chroma_height(2)):
            raise ConfigurationError(
                f"{what}: pictures of {height} × {width} cannot become video in {encoding.pixel_format}, which needs "
                f"even sizes. Keep them as files with pictures=images, or give video.pixel_format=yuv444p."
            )
        writer = VideoWriter(io.BytesIO(), rate, height, width, encoding)
        try:
            writer.write(np.zeros((height, width, 3), np.uint8))
        finally:
            writer.close()
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        raise ConfigurationError(
            f"{what}: pictures of {height} × {width} at {rate} Hz cannot be encoded as {encoding.codec}, "
            f"{encoding.pixel_format}, preset {encoding.preset}: {error}. Correct video.…, or keep pictures as files "
            f"with pictures=images."
        ) from error


def decode(path: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Every frame in order: its time in seconds, and its pixels (H, W, 3) RGB; raises :class:`DatasetError`."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DatasetError(f"{path} holds no video. Fetch or copy it again, whole.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if frame.time is None:
                    raise DatasetError(f"{path} has a frame without a timestamp. Encode it again.")
                yield float(frame.time), np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except av.FFmpegError as error:
        raise DatasetError(
            f"{path} cannot be decoded: {error.strerror}. It is damaged or was copied in part: fetch or copy it again, "
            f"whole."
        ) from error


def count_frames(path: Path) -> int:
    """Frames of a video by its container, without decoding; 0 where that does not say; raises :class:`DatasetError`."""
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise DatasetError(
            f"{path} cannot be opened: {error.strerror}. It is damaged or was copied in part: fetch or copy it again, "
            f"whole."
        ) from error
    frames = sum(stream.frames for stream in container.streams.video[:1])
    container.close()
    return frames


def join(parts: Sequence[tuple[Path, int]], path: Path, rate: int) -> None:
    """Lay videos end to end in ``path`` without encoding them again. ``parts``: files and their numbers of frames."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as output:
        stream: Any = None
        first = 0
        for part, count in parts:
            with av.open(str(part)) as container:
                source: Any = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(source, opaque=True)
                    stream.time_base = source.time_base
                offset = round(first / rate / source.time_base)
                for packet in container.demux(source):
                    if packet.pts is not None and packet.dts is not None:  # demuxers end with an empty packet
                        packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                        output.mux(packet)
            first += count
