"""LeRobot environments of the embedded benchmarks: ``lerobot-eval --env.type=forehand_tabletop_chains``.

``forehand_tabletop`` is the environment with three blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from forehand_robots.gymnasium_env import BenchmarkEnvironment, BlocksEnvironment, TabletopEnvironment
from forehand_tabletop.blocks.tasks import TASKS as BLOCK_TASKS
from forehand_tabletop.chains.tasks import TASKS

CHAIN, CHAIN_LENGTH = "chain", 5


class LeRobotView(gymnasium.Wrapper[dict[str, Any], np.ndarray, dict[str, Any], np.ndarray]):
    """One of Forehand's environments, with LeRobot's names of observations; ``max_steps``: of an episode."""

    def __init__(self, environment: BenchmarkEnvironment, max_steps: int) -> None:
        super().__init__(environment)
        self._max_episode_steps = max_steps
        seen = {name: space for name, space in environment.observation_space.items() if name != "instruction"}
        state = seen.pop("state")
        self.observation_space = gymnasium.spaces.Dict({"pixels": gymnasium.spaces.Dict(seen), "agent_pos": state})

    @property
    def task(self) -> str:
        """The present task's name."""
        return self.unwrapped.episode.task

    @property
    def task_description(self) -> str:
        """The present instruction."""
        return self.unwrapped.episode.instruction

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """Start a new episode; ``options`` are LeRobot's own, and not passed on."""
        seen, info = self.env.reset(seed=seed)
        return _renamed(seen), info | {"is_success": info["success"]}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One control step."""
        seen, reward, terminated, truncated, info = self.env.step(action)
        return _renamed(seen), reward, terminated, truncated, info | {"is_success": info["success"]}


def _renamed(seen: dict[str, Any]) -> dict[str, Any]:
    pixels = {name: value for name, value in seen.items() if name not in ("state", "instruction")}
    return {"pixels": pixels, "agent_pos": seen["state"]}


@dataclass
class TabletopEnv(EnvConfig):
    """task: one of the benchmark's, or several with commas between them, or ``all``; episode_length: steps at most."""

    task: str | None = "all"
    fps: int = 15
    episode_length: int = 200
    image_size: int = 128
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)
    kind: ClassVar[type[BenchmarkEnvironment]]
    tasks: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        picture = PolicyFeature(type=FeatureType.VISUAL, shape=(self.image_size, self.image_size, 3))
        self.features = {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=(7,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(8,)),
            "pixels/static": picture,
            "pixels/wrist": picture,
        }
        self.features_map = {
            "action": "action",
            "agent_pos": "observation.state",
            "pixels/static": "observation.images.static",
            "pixels/wrist": "observation.images.wrist",
        }

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {"image_size": self.image_size}

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
        """One vector environment for each task."""
        tasks = self.tasks if self.task in (None, "all") else tuple(self.task.split(","))
        kind = gymnasium.vector.AsyncVectorEnv if use_async_envs and n_envs > 1 else gymnasium.vector.SyncVectorEnv
        more: dict[str, Any] = {"context": "forkserver"} if kind is gymnasium.vector.AsyncVectorEnv else {}

        def vector(task: str) -> gymnasium.vector.VectorEnv:
            make: Callable[[], LeRobotView] = partial(_make, self.kind, task, self.episode_length, self.gym_kwargs)
            return kind([make] * n_envs, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP, **more)

        return {self.type: {number: vector(task) for number, task in enumerate(tasks)}}


@EnvConfig.register_subclass("forehand_tabletop")
@dataclass
class ForehandTabletopEnv(TabletopEnv):
    """Three blocks to push, lift and stack."""

    kind = BlocksEnvironment
    tasks = tuple(BLOCK_TASKS)


@EnvConfig.register_subclass("forehand_tabletop_chains")
@dataclass
class ForehandTabletopChainsEnv(TabletopEnv):
    """32 tasks, and ``task=chain``: five in a row, which succeed together; episode_length: for each of them.

    variant: ``A`` to ``D``, several in turn (``ABC``) or a YAML file; sentences: ``train``, or ``test``, which are kept
    back; disturbances: what every episode is disturbed by; render: ``fast`` or ``high`` quality.
    """

    episode_length: int = 360
    variant: str = "D"
    sentences: str = "test"
    disturbances: list[str] = field(default_factory=list)
    render: str = "fast"
    kind = TabletopEnvironment
    tasks = tuple(TASKS)

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        place = {"variant": self.variant, "sentences": self.sentences, "disturbances": self.disturbances}
        return {**super().gym_kwargs, **place, "render": self.render}


def _make(kind: type[BenchmarkEnvironment], task: str, length: int, options: dict[str, Any]) -> LeRobotView:
    what = {"chain": True} if task == CHAIN else {"task": task}
    environment = kind(**what, **options, max_steps=length, render_mode="rgb_array")
    return LeRobotView(environment, length * (CHAIN_LENGTH if task == CHAIN else 1))
