"""A rollout as a video: what the cameras see now, above what the policy had foreseen for now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.foresight import Foreseen
from forehand.rollout import Moment

if TYPE_CHECKING:
    from PIL import Image

Picture = NDArray[np.uint8]

HEIGHT = 256
BAR = 28
INK, PAPER, FAINT = (235, 235, 235), (18, 18, 18), (130, 130, 130)


class Film:
    """Writes an H.264 MP4 of one rollout: pass :meth:`watch` to :func:`forehand.rollout.rollout`.

    Cameras stand side by side, scaled to one height, the instruction above them. Where the policy forecasts, a second row
    shows the picture it made of this very moment ``forecast_horizon`` steps ago, so that the rows can be compared.
    """

    def __init__(self, path: Path, cameras: Sequence[str], rate: float, caption: str) -> None:
        try:
            import av
            import PIL.Image  # noqa: F401  (asked for here, so that it does not fail in mid-episode)
        except ImportError as error:
            raise ConfigurationError(
                f"Videos need {error.name}, which is not installed: pip install 'forehand[pages]', or ask for videos=0."
            ) from error
        self.path, self.cameras, self.caption = path, tuple(cameras), caption
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        self._stream.pix_fmt = "yuv420p"  # what every browser plays
        self._stream.options = {"crf": "20", "preset": "veryfast"}
        self._foreseen = Foreseen()
        self._second_row = False
        self._rate = rate
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def watch(self, moment: Moment) -> None:
        """Add one frame; the last moment stays for half a second with its outcome."""
        due = self._foreseen.due(moment)
        if moment.step == 0:  # a video's frames have one size, so the first step decides
            self._second_row = moment.prediction is not None and moment.prediction.forecast is not None
        outcome = "" if moment.action is not None else "success" if moment.observation.success else "no success"
        frame = self._compose(moment, due, outcome)
        for _ in range(1 if moment.action is not None else max(1, round(self._rate / 2))):
            self._write(frame)

    def close(self) -> None:
        """Finish the file; calling it twice is harmless."""
        if self._started:
            self._container.mux(self._stream.encode())
            self._started = False
        self._container.close()

    def _compose(self, moment: Moment, due: Mapping[str, Picture], outcome: str) -> Picture:
        from PIL import Image, ImageDraw, ImageFont

        now = [self._scale(moment.observation.images[c]) for c in self.cameras]
        width = sum(picture.width for picture in now)
        width += width % 2  # H.264 halves the colour planes
        height = (BAR + HEIGHT) * (1 + self._second_row)
        frame = Image.new("RGB", (width, height), PAPER)
        draw, font = ImageDraw.Draw(frame), ImageFont.load_default(15)

        def row(top: int, words: str, remark: str, pictures: Sequence[Image.Image | None]) -> None:
            draw.text((8, top + 5), words, fill=INK, font=font)
            draw.text((width - 8, top + 5), remark, fill=FAINT, font=font, anchor="ra")
            left = 0
            for picture, size in zip(pictures, now, strict=True):
                if picture is not None:
                    frame.paste(picture.resize(size.size), (left, top + BAR))
                left += size.width

        row(0, self.caption, outcome or f"step {moment.step}", now)
        if self._second_row:
            foreseen = [self._scale(due[c]) if c in due else None for c in self.cameras]
            row(BAR + HEIGHT, "what it foresaw for this moment", "" if due else "nothing yet", foreseen)
        return np.asarray(frame)

    @staticmethod
    def _scale(picture: Picture) -> Image.Image:
        from PIL import Image

        height, width = picture.shape[:2]
        return Image.fromarray(np.ascontiguousarray(picture)).resize((round(width * HEIGHT / height), HEIGHT))

    def _write(self, picture: Picture) -> None:
        import av

        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if not self._started:
            self._stream.width, self._stream.height = frame.width, frame.height
            self._started = True
        self._container.mux(self._stream.encode(frame))
