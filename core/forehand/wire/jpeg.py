"""JPEG encoding of camera images for slow networks; needs the extra ``jpeg``."""

from __future__ import annotations

from collections.abc import Buffer
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ProtocolError

MAX_PIXELS = 1536 * 1536
"""Of one picture: a few bytes of JPEG may claim to be any number of pixels."""

AVAILABLE = find_spec("simplejpeg") is not None
"""Whether pictures can be read and written here; stated in every ``hello``."""


def is_picture(array: NDArray[Any]) -> bool:
    """Whether ``array`` is (H, W, 3) uint8, and may be sent as JPEG."""
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and 0 < array.size <= 3 * MAX_PIXELS


def compress(picture: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG of ``picture`` (H, W, 3) RGB without chroma subsampling, since small things have colours too."""
    import simplejpeg

    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", "444")
    return data


def decompress(data: Buffer, height: int, width: int) -> NDArray[np.uint8]:
    """The picture (height, width, 3) RGB in ``data``; raises :class:`ProtocolError` if it is none of that size."""
    if not AVAILABLE:
        raise ProtocolError("Pictures as JPEG cannot be read here: pip install 'forehand[jpeg]', or send them as arrays.")
    import simplejpeg

    try:
        found = simplejpeg.decode_jpeg_header(data)[:2]
        if found != (height, width) or height * width > MAX_PIXELS:
            raise ValueError(f"it has {found[0]} × {found[1]} pixels, announced were {height} × {width}")
        picture: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        raise ProtocolError(f"This is not the JPEG that was announced: {error}.") from error
    return picture
