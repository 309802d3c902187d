"""Rollout video: camera images above the forecasts made for the same step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.sensor import Sensor
from forehand.errors import ConfigurationError
from forehand.running.control_step import Step
from forehand.running.depth_colours import DepthColours
from forehand.running.forecasts import ForecastBuffer

if TYPE_CHECKING:
    from PIL import Image

Picture = NDArray[np.uint8]

HEIGHT = 256
BAR = 28
INK, PAPER, FAINT = (235, 235, 235), (18, 18, 18), (130, 130, 130)


class RolloutVideo:
    """Writes an H.264 MP4 of one rollout: pass :meth:`watch` to :func:`forehand.running.rollout.rollout`.

    Cameras stand side by side, scaled to one height, the instruction above them, and behind them ``depths``: the images
    of depth sensors, in colours with their range in metres. Where the policy forecasts, a second row shows the picture
    it made of this very moment ``forecast_horizon`` steps ago, so that the rows can be compared.
    """

    def __init__(
        self, path: Path, cameras: Sequence[str], rate: float, caption: str, depths: Sequence[Sensor] = ()
    ) -> None:
        try:
            import av
            import PIL.Image  # noqa: F401  (imported here, so that a missing package fails before the episode)

            if depths:
                import matplotlib  # noqa: F401
        except ImportError as error:
            raise ConfigurationError(
                f"Videos need {error.name}, which is not installed: pip install 'forehand[report]', or set num_videos=0."
            ) from error
        self.path, self.cameras, self.caption = path, tuple(cameras), caption
        self._depths = [DepthColours(sensor) for sensor in depths]
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        self._stream.pix_fmt = "yuv420p"  # what every browser plays
        self._stream.options = {"crf": "20", "preset": "veryfast"}
        self._foreseen = ForecastBuffer()
        self._second_row: bool | None = None
        self._waiting: list[Step] = []
        self._rate = rate
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def on_step(self, step: Step) -> None:
        """Add one frame; the last moment stays for half a second with its outcome."""
        self._waiting.append(step)
        if self._second_row is None:  # a video's frames have one size, which the first answer decides
            if step.prediction is None and not step.ended:
                return
            self._second_row = step.prediction is not None and step.prediction.forecast is not None
        for waiting in self._waiting:
            self._add(waiting)
        self._waiting.clear()

    def close(self) -> None:
        """Finish the file; calling it twice is harmless."""
        if self._started:
            self._container.mux(self._stream.encode())
            self._started = False
        self._container.close()

    def _add(self, step: Step) -> None:
        outcome = "" if not step.ended else "success" if step.observation.success else "no success"
        frame = self._compose(step, self._foreseen.pop(step), outcome)
        for _ in range(max(1, round(self._rate / 2)) if step.ended else 1):
            self._write(frame)

    def _compose(self, step: Step, due: Mapping[str, Picture], outcome: str) -> Picture:
        from PIL import Image, ImageDraw, ImageFont

        now = [self._scale(step.observation.images[c]) for c in self.cameras]
        now += [self._scale_depth(depth, step.observation.sensors[depth.sensor.name]) for depth in self._depths]
        width = sum(picture.width for picture in now)
        width += width % 2  # H.264 halves the colour planes
        height = (BAR + HEIGHT) * (1 + bool(self._second_row))
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

        row(0, self.caption, outcome or f"step {step.step}", now)
        if self._second_row:
            foreseen = [self._scale(due[c]) if c in due else None for c in self.cameras]
            foreseen += [None] * len(self._depths)
            row(BAR + HEIGHT, "what it foresaw for this moment", "" if due else "nothing yet", foreseen)
        return np.asarray(frame)

    @staticmethod
    def _scale(picture: Picture) -> Image.Image:
        from PIL import Image

        height, width = picture.shape[:2]
        return Image.fromarray(np.ascontiguousarray(picture)).resize((round(width * HEIGHT / height), HEIGHT))

    @classmethod
    def _scale_depth(cls, colours: DepthColours, depth: NDArray[Any]) -> Image.Image:
        from PIL import Image

        return Image.fromarray(colours.write_label(np.asarray(cls._scale(colours.paint(depth)))))

    def _write(self, picture: Picture) -> None:
        import av

        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if not self._started:
            self._stream.width, self._stream.height = frame.width, frame.height
            self._started = True
        self._container.mux(self._stream.encode(frame))
