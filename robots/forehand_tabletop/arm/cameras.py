"""Camera rendering in a thread of its own.

An OpenGL context is bound to the thread that uses it, and cannot even be freed from another. A robot, though, may be
connected on one thread and served on the next.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from forehand.utils.rendering import RenderingError

_NOTHING = 0.999  # of the farthest distance that is drawn, from which on it is the background

_drawing: set[int] = set()  # ids of this process and of its ancestors by fork that have a renderer


class Cameras:
    """Square images of ``size`` pixels; ``names``: name in the contract → name of the model's camera.

    Raises :class:`~forehand.utils.rendering.RenderingError` where there is no renderer.
    """

    def __init__(self, model: mujoco.MjModel, names: Mapping[str, str], size: int) -> None:
        if _drawing - {os.getpid()}:
            raise RenderingError.forked()
        _drawing.add(os.getpid())
        self._names = names
        self._farthest = model.vis.map.zfar * model.stat.extent  # m
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=_run_jobs, args=(self._jobs,), name="tabletop-cameras", daemon=True)
        self._thread.start()
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        try:
            self._renderer: mujoco.Renderer = self._run(lambda: mujoco.Renderer(model, size, size))
        except Exception as error:  # a missing or broken renderer raises errors of many kinds
            self._jobs.put(None)
            raise RenderingError.because(error) from error
        # Registered after the renderer's own handlers, so that it runs before them.
        atexit.register(self.close)

    def render(self, data: mujoco.MjData) -> dict[str, NDArray[np.uint8]]:
        """A fresh image (H, W, 3) from each camera."""
        images: dict[str, NDArray[np.uint8]] = self._run(lambda: self._draw(data))
        return images

    def render_depth(self, data: mujoco.MjData, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Distance along the optical axis from each camera in ``names``, (H, W) m; 0 where nothing is drawn."""
        depths: dict[str, NDArray[np.float32]] = self._run(lambda: self._draw_depth(data, names))
        return depths

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

    def _draw_depth(self, data: mujoco.MjData, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        self._renderer.enable_depth_rendering()
        try:
            depths = {}
            for name in names:
                self._renderer.update_scene(data, self._names[name])
                depth = self._renderer.render()
                depths[name] = np.where(depth < _NOTHING * self._farthest, depth, 0).astype(np.float32)
            return depths
        finally:
            self._renderer.disable_depth_rendering()

    def _run(self, job: Callable[[], Any]) -> Any:
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return future.result()


def _run_jobs(jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]) -> None:
    while (item := jobs.get()) is not None:
        job, future = item
        try:
            future.set_result(job())
        except Exception as error:  # handed to the caller
            future.set_exception(error)
        del item, job, future  # or the last images would live until the next job
