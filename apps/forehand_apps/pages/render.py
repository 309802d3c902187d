"""Self-contained HTML pages with embedded images and videos."""

from __future__ import annotations

import base64
import functools
import io
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """A page from ``template`` (a file in ``templates/``); every value is escaped."""
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("forehand_apps.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["embed"] = embed
    return environment


def embed(path: Path) -> str:
    """The file at ``path`` as a data URL, of the type that its suffix names."""
    kind, _ = mimetypes.guess_type(path)
    return data_url(kind or "application/octet-stream", path.read_bytes())


def data_url(kind: str, data: bytes) -> str:
    """``data`` as a data URL; ``kind``: its MIME type, such as ``image/jpeg``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def jpeg(picture: NDArray[np.uint8], quality: int = 85) -> bytes:
    """A picture (H, W, 3) as a JPEG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
