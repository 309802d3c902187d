"""The cameras' images, drawn on a thread of their own.

An OpenGL context stays with the thread that uses it, and cannot even be freed from another. A robot, though, may be
connected on one thread and served on the next.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from forehand_robots.tabletop.rendering import RenderingError

_drawing: set[int] = set()  # the process that draws, and those that it was forked from


class Cameras:
    """Square images of ``size`` pixels, from the model's cameras whose names ``names`` gives by ours.

    Raises :class:`~forehand_robots.tabletop.rendering.RenderingError` where nothing can draw.
    """

    def __init__(self, model: mujoco.MjModel, names: Mapping[str, str], size: int) -> None:
        if _drawing - {os.getpid()}:
            raise RenderingError.forked()
        _drawing.add(os.getpid())
        self._names = names
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=_serve, args=(self._jobs,), name="tabletop-cameras", daemon=True)
        self._thread.start()
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        try:
            self._renderer: mujoco.Renderer = self._run(lambda: mujoco.Renderer(model, size, size))
        except Exception as error:  # what a missing or broken renderer raises differs from one to the next
            self._jobs.put(None)
            raise RenderingError.because(error) from error
        # Registered after the renderer's own handlers, so that it runs before them.
        atexit.register(self.close)

    def render(self, data: mujoco.MjData) -> dict[str, NDArray[np.uint8]]:
        """A fresh image (H, W, 3) from each camera."""
        images: dict[str, NDArray[np.uint8]] = self._run(lambda: self._draw(data))
        return images

    def close(self) -> None:
        """Free the renderer; calling it twice is harmless."""
        if self._thread.is_alive():
            atexit.unregister(self.close)
            self._run(self._renderer.close)
            self._jobs.put(None)
            self._thread.join()

    def _draw(self, data: mujoco.MjData) -> dict[str, NDArray[np.uint8]]:
        images = {}
        for name, camera in self._names.items():
            self._renderer.update_scene(data, camera)
            images[name] = self._renderer.render()
        return images

    def _run(self, job: Callable[[], Any]) -> Any:
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return future.result()


def _serve(jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]) -> None:
    while (item := jobs.get()) is not None:
        job, future = item
        try:
            future.set_result(job())
        except Exception as error:  # handed to the caller
            future.set_exception(error)
        del item, job, future  # or the last images would live until the next job
