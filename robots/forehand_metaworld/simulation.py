"""Meta-World's simulator: one task at a time, with a fixed or a drawn goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.utils.rendering import choose_renderer

CAMERAS: Mapping[str, str] = {"static": "corner2", "wrist": "gripperPOV"}
"""Our name → the simulator's."""

NEAR = (0.75, 0.075, 0.7)
"""Position of the camera ``corner2`` in evaluations from pictures, m: nearer than in the model (Seo et al. 2022)."""

RATE = 80  # Hz
GOALS = 50  # fixed ones of each task
GOAL_SEED = 42
"""Of the fixed goals."""

Readings = Mapping[str, Any]


class MetaworldSimulation:
    """The environment of a task, made when it is needed.

    ``image_size``: of both cameras, pixels; ``smooth``: whether edges are smoothed, and surfaces mirror and have
    shadows, as by default; ``near``: whether the static camera stands at :data:`NEAR`.
    """

    def __init__(self, image_size: int, smooth: bool = True, near: bool = True) -> None:
        choose_renderer()
        try:
            import metaworld
        except ImportError as error:
            raise ConfigurationError(
                f"Meta-World is not in this Python ({error}). It has an environment of its own: forehand env make "
                f"metaworld, and robot.environment=metaworld, which is the default."
            ) from error
        self._metaworld: Any = metaworld
        self._image_size, self._smooth, self._near = image_size, smooth, near
        self._task: str | None = None
        self._env: Any = None
        self._renderer: Any = None
        self._fixed: list[Any] = []
        self._numbers: NDArray[np.float64] = np.zeros(0)
        self.success = False
        """Whether the task is accomplished now."""

    def begin(self, task: str, goal: int | None, seed: int) -> None:
        """Bring the scene of ``task`` to its fixed goal of that number, or to one drawn with ``seed``."""
        if task != self._task:
            self._open(task)
        if goal is None:
            chosen = self._metaworld.MT1(task, seed=seed).train_tasks[0]
        elif 0 <= goal < GOALS:
            chosen = self._fixed[goal]
        else:
            raise ConfigurationError(f"{task} has fixed goals 0 to {GOALS - 1}, no {goal}.")
        self._env.set_task(chosen)
        self._numbers, _ = self._env.reset(seed=seed)
        self.success = False

    def step(self, action: NDArray[np.float64]) -> None:
        """One control step with ``action`` (4,)."""
        self._numbers, _, _, _, info = self._env.step(action)
        self.success = bool(info["success"])

    def readings(self) -> Readings:
        """``numbers`` (39,), of which the first four are the hand's, and both cameras' pictures (H, W, 3), upright."""
        pictures = {name: self._draw(camera) for name, camera in CAMERAS.items()}
        return {"numbers": self._numbers, **pictures}

    @property
    def numbers(self) -> NDArray[np.float64]:
        """Privileged: the observation (39,) that Meta-World's experts get."""
        return self._numbers

    def close(self) -> None:
        """Free the environment and its renderer."""
        for part in (self._renderer, self._env):
            if part is not None:
                part.close()
        self._renderer = self._env = self._task = None

    def _open(self, task: str) -> None:
        import mujoco

        self.close()
        tasks = self._metaworld.MT1(task, seed=GOAL_SEED)
        self._fixed = tasks.train_tasks
        self._env = tasks.train_classes[task]()
        model = self._env.model
        if self._near:
            model.camera(CAMERAS["static"]).pos[:] = NEAR
        if not self._smooth:
            model.vis.quality.offsamples = 0
        self._renderer = mujoco.Renderer(model, self._image_size, self._image_size)
        if not self._smooth:
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._renderer.scene.flags[flag] = False
        self._task = task

    def _draw(self, camera: str) -> NDArray[np.uint8]:
        self._renderer.update_scene(self._env.data, camera=camera)
        drawn: NDArray[np.uint8] = self._renderer.render()
        if camera == CAMERAS["static"]:  # which hangs upside down
            drawn = np.ascontiguousarray(drawn[::-1, ::-1])
        return drawn
