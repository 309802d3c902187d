"""CALVIN's simulator: one environment of ``calvin_env`` in a process, and its task oracle."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from forehand.errors import ConfigurationError, nearest
from forehand_calvin.checkout import commit, find_checkout

SCENES = ("A", "B", "C", "D")
RENDERERS = ("egl", "cpu")
"""``egl``: OpenGL, as the benchmark has it; ``cpu``: Bullet's TinyRenderer, whose colours and light differ."""

Readings = Mapping[str, Any]


class CalvinSimulation:
    """The environment of a scene, made when it is needed; one at a time, since ``calvin_env`` can have only one.

    ``checkout``: as :func:`~forehand_calvin.checkout.find_checkout` takes it; ``renderer``: one of :data:`RENDERERS`.
    """

    def __init__(self, checkout: str | None = None, renderer: str = "egl") -> None:
        require_known(renderer=renderer)
        self.folder = find_checkout(checkout)
        self._egl = renderer == "egl"
        self._scene = ""
        self._env: Any = None
        self._start: Mapping[str, Any] = {}
        self._info: Mapping[str, Any] = {}
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        try:
            self._module: Any = importlib.import_module("calvin_env.envs.play_table_env")
            oracle = importlib.import_module("calvin_env.envs.tasks").Tasks
        except ImportError as error:
            raise ConfigurationError(
                f"calvin_env cannot be imported in this Python ({error}). It has an environment of its own: forehand env "
                f"make calvin +options.checkout={self.folder}, and robot.environment=calvin, which is the default."
            ) from error
        vars(self._module)["get_git_commit_hash"] = lambda _: commit(self.folder)  # its own needs a clone
        conditions = resources.files("forehand_calvin.data").joinpath("tasks.yaml").read_text(encoding="utf-8")
        self._oracle = oracle(yaml.safe_load(conditions)["tasks"])

    def begin(self, scene: str, state: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None) -> Readings:
        """Bring ``scene`` to ``state``, which is ``robot_obs`` and ``scene_obs``; None: to one drawn by the simulator."""
        require_known(scene=scene)
        if scene != self._scene:
            self._open(scene)
        self._env.robot.gripper_action = 1  # a reset opens the gripper, and would report the last command before it
        robot, objects = (None, None) if state is None else state
        readings: Readings = self._env.reset(robot_obs=robot, scene_obs=objects)
        self.begin_task()
        return readings

    def begin_task(self) -> None:
        """Judge tasks by what changes from now on."""
        self._start = self._info = self._env.get_info()

    def step(self, action: NDArray[np.float64]) -> Readings:
        """One control step with ``action`` (7,), of which the last is -1 or 1."""
        readings, _, _, self._info = self._env.step(action)
        return dict(readings)

    def accomplished(self, task: str) -> bool:
        """Whether the oracle says that ``task`` was done since :meth:`begin_task`."""
        return bool(self._oracle.get_task_info_for_set(self._start, self._info, {task}))

    @property
    def info(self) -> Mapping[str, Any]:
        """Privileged: poses, joints and contacts of robot and objects."""
        return self._info

    @property
    def environment(self) -> Any:
        """Privileged: the environment itself."""
        return self._env

    def blocks(self, scene: str) -> Sequence[str]:
        """The blocks of a scene, in the order in which ``scene_obs`` has them."""
        require_known(scene=scene)
        file = self.folder / f"conf/scene/calvin_scene_{scene}.yaml"
        objects = yaml.safe_load(file.read_text(encoding="utf-8"))["objects"]["movable_objects"]
        return [f"{name.removeprefix('block_')}_block" for name in objects]

    def close(self) -> None:
        """Free the environment."""
        if self._env is not None:
            self._env.close()
            self._env.ownsPhysicsClient = False  # its destructor would close the next one's client
        self._env, self._scene = None, ""
        gc.collect()

    def _open(self, scene: str) -> None:
        self.close()
        self._env = self._module.PlayTableSimEnv(**_options(self.folder, scene, self._egl))
        self._scene = scene


def require_known(scene: str = "D", renderer: str = "egl") -> None:
    """Raise :class:`ConfigurationError` for a scene or a renderer that there is not."""
    if scene not in SCENES:
        raise ConfigurationError(f"scene is {scene!r}. {nearest(scene, SCENES)}")
    if renderer not in RENDERERS:
        raise ConfigurationError(f"renderer is {' or '.join(RENDERERS)}, not {renderer!r}.")


def _options(folder: Path, scene: str, egl: bool) -> dict[str, Any]:
    """What the environment is made with: its own configuration, both cameras, no window."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    chosen = [f"scene=calvin_scene_{scene}", "cameras=static_and_gripper", f"data_path={folder / 'data'}"]
    with initialize_config_dir(str(folder / "conf"), version_base=None):
        whole = compose("config_data_collection", [*chosen, "use_vr=false"])
    options = dict(whole.env)
    for name in ("_target_", "_recursive_"):
        del options[name]
    return options | {"show_gui": False, "use_scene_info": True, "use_egl": egl}
