"""Selection of an OpenGL renderer, with installation advice when there is none."""

from __future__ import annotations

import ctypes.util
import os

from forehand.errors import ForehandError

PACKAGES = "libegl1 libgles2 libgl1-mesa-dri libosmesa6"


class RenderingError(ForehandError):
    """No OpenGL renderer works on this machine, or in this process."""

    @classmethod
    def because(cls, cause: Exception) -> RenderingError:
        """What to do about a renderer that failed."""
        renderer = os.environ.get("MUJOCO_GL", "the default renderer")
        return cls(
            f"MuJoCo cannot draw with {renderer} ({type(cause).__name__}: {cause}). On a machine without a screen, "
            f"install the software renderers (Debian, Ubuntu: apt-get install {PACKAGES}) and set MUJOCO_GL=egl or "
            f"MUJOCO_GL=osmesa before anything imports mujoco or dm_control."
        )

    @classmethod
    def forked(cls) -> RenderingError:
        """OpenGL in a fork of a process that draws would wait forever for threads that were not forked with it."""
        return cls(
            "This process was forked from one that has drawn, and OpenGL cannot draw in both. Start it with the context "
            "'forkserver' or 'spawn', for instance make_vec(…, vector_kwargs={'context': 'forkserver'}), or before "
            "anything is drawn."
        )


def choose_renderer() -> None:
    """Set ``MUJOCO_GL`` where it is unset and no screen is there: to EGL, else OSMesa, whichever is installed."""
    if "MUJOCO_GL" in os.environ or os.environ.get("DISPLAY") or os.name != "posix" or os.uname().sysname == "Darwin":
        return
    for renderer, library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = renderer
            return
