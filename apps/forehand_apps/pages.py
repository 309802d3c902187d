"""Pages that need nothing beside themselves: pictures and videos inside the HTML, one style for all."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent


def fill(template: str, parts: Mapping[str, str]) -> str:
    """The page that ``template`` (a file of this package) and its ``parts`` make, in the style of all pages."""
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return Template((HERE / template).read_text(encoding="utf-8")).substitute({"style": style, **parts})


def data_url(kind: str, data: bytes) -> str:
    """``data`` as an address that holds it; ``kind``: ``image/jpeg`` or the like."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def jpeg(picture: NDArray[np.uint8], quality: int = 85) -> bytes:
    """A picture (H, W, 3) as a JPEG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
