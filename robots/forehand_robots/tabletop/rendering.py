"""Choosing an OpenGL renderer, and saying what to install when there is none."""

from __future__ import annotations

import ctypes.util
import os

from forehand.errors import ForehandError

PACKAGES = "libegl1 libgles2 libgl1-mesa-dri libosmesa6"


class RenderingError(ForehandError):
    """No OpenGL renderer works on this machine."""

    def __init__(self, cause: Exception) -> None:
        renderer = os.environ.get("MUJOCO_GL", "the default renderer")
        super().__init__(
            f"MuJoCo cannot draw with {renderer} ({type(cause).__name__}: {cause}). On a machine without a screen, "
            f"install the software renderers (Debian, Ubuntu: apt-get install {PACKAGES}) and set MUJOCO_GL=egl or "
            f"MUJOCO_GL=osmesa before anything imports mujoco or dm_control."
        )


def choose_renderer() -> None:
    """Set ``MUJOCO_GL`` where it is unset and no screen is there: to EGL, else OSMesa, whichever is installed."""
    if "MUJOCO_GL" in os.environ or os.environ.get("DISPLAY") or os.name != "posix" or os.uname().sysname == "Darwin":
        return
    for renderer, library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = renderer
            return
