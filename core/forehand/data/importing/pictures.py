"""Pictures of a source: decoding of image files, and turning what lies otherwise upright."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.orientation import ORIENTATIONS, turned
from forehand.data.importing.importer import Picture
from forehand.errors import ConfigurationError, DatasetError, nearest

Pixels = NDArray[np.uint8]


def check_orientation(camera: str, orientation: str) -> str:
    """``orientation``; :class:`ConfigurationError` for one that is not known."""
    if orientation not in ORIENTATIONS:
        raise ConfigurationError(
            f"The orientation of camera {camera!r} is {orientation!r}. {nearest(orientation, ORIENTATIONS)}"
        )
    return orientation


def decode_picture(picture: Picture) -> Pixels:
    """(H, W, 3) uint8 RGB of a picture; raises :class:`DatasetError` for a file that cannot be decoded."""
    if isinstance(picture, np.ndarray):
        return picture
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"a picture of {len(picture)} bytes cannot be decoded ({error})") from error


def kept_file(picture: Picture, orientation: str) -> bytes | None:
    """The file of a picture where it may be kept as it is: JPEG or PNG, in RGB, and upright; else None."""
    if isinstance(picture, np.ndarray) or orientation != "upright":
        return None
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        return picture if image.format in ("JPEG", "PNG") and image.mode == "RGB" else None


def upright(picture: Picture, orientation: str) -> Pixels:
    """The pixels (H, W, 3) of a picture that lies as ``orientation`` says, turned upright."""
    return turned(decode_picture(picture), orientation, "upright")
