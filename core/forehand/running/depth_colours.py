"""Depth images as colour images, with their range in metres."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.sensor import Sensor

COLORMAP = "turbo"


class DepthColours:
    """Colours of one depth sensor: matplotlib's ``turbo`` over the range of the first image, black where nothing is.

    range: (nearest, farthest) in metres, (0, 0) until something was measured.
    """

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self.range = (0.0, 0.0)

    def paint(self, depth: NDArray[Any]) -> NDArray[np.uint8]:
        """(H, W) depth as measured → (H, W, 3) uint8 RGB."""
        import matplotlib

        metres = depth.astype(np.float64) * self.sensor.scale
        measured = metres > 0
        if self.range == (0.0, 0.0) and measured.any():
            self.range = (float(metres[measured].min()), float(metres[measured].max()))
        near, far = self.range
        share = (metres - near) / max(far - near, 1e-9)
        colors: NDArray[np.uint8] = matplotlib.colormaps[COLORMAP](share.clip(0, 1), bytes=True)[..., :3]
        return np.where(measured[..., None], colors, 0).astype(np.uint8)

    @property
    def label(self) -> str:
        """The sensor's name and its range."""
        near, far = self.range
        return f"{self.sensor.name}: {near:.2f} to {far:.2f} m"

    def write_label(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of an image (H, W, 3) of this sensor, however scaled, with :attr:`label` in its lower left corner."""
        from PIL import Image, ImageDraw, ImageFont

        image = Image.fromarray(np.ascontiguousarray(picture))
        size = min(15, max(6, image.width // 17))
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
        place = (size // 2, image.height - 3 * size // 2)
        draw.text(place, self.label, fill=(235, 235, 235), font=font, stroke_width=1, stroke_fill=(18, 18, 18))
        return np.asarray(image)
