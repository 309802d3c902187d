"""Forehand's tabletop as a LeRobot environment: ``lerobot-eval --env.type=forehand_tabletop``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from forehand import Benchmark, Contract, Episode, Observation, Robot, registry

TASKS = ("push", "lift", "stack")


class TabletopEnvironment(gymnasium.Env[dict[str, Any], np.ndarray]):
    """One task of the tabletop benchmark; the seed of a reset decides the scene and the sentence."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 15}
    render_mode = "rgb_array"

    def __init__(self, task: str, image_size: int, episode_length: int) -> None:
        self._robot: Robot = registry().create("robot", "tabletop", image_size=image_size)
        self._benchmark: Benchmark = registry().create("benchmark", "tabletop")
        self._robot.connect()
        self.task, self._max_episode_steps = task, episode_length
        contract = self._robot.contract
        self.metadata = {**self.metadata, "render_fps": round(contract.rate)}
        pictures = {c.name: gymnasium.spaces.Box(0, 255, (c.height, c.width, 3), np.uint8) for c in contract.cameras}
        self.observation_space = gymnasium.spaces.Dict(
            {
                "pixels": gymnasium.spaces.Dict(pictures),
                "agent_pos": gymnasium.spaces.Box(-np.inf, np.inf, (contract.state_size,), np.float32),
            }
        )
        self.action_space = gymnasium.spaces.Box(*_bounds(contract), dtype=np.float32)
        self._begin(0)

    @property
    def task_description(self) -> str:
        """What the policy is told."""
        return self._episode.instruction

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        self._begin(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._seen(), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        self._last = self._robot.step(np.asarray(action, np.float32))
        success = bool(self._last.success)
        over = self._steps >= self._max_episode_steps
        return self._seen(), float(success), success, over and not success, {"is_success": success}

    def render(self) -> np.ndarray:
        return next(iter(self._last.images.values()))

    def close(self) -> None:
        self._robot.close()

    def _begin(self, seed: int) -> None:
        # A list of episodes goes round the blocks that a task can name: the seed decides which is taken.
        self._episode: Episode = self._benchmark.episodes(12, seed, [self.task])[seed % 12]
        self._steps = 0
        self._last: Observation = self._robot.reset(self._episode)

    def _seen(self) -> dict[str, Any]:
        return {"pixels": dict(self._last.images), "agent_pos": self._last.state}


@EnvConfig.register_subclass("forehand_tabletop")
@dataclass
class ForehandTabletopEnv(EnvConfig):
    """task: one of the benchmark's, or several with commas between them, or ``all``; episode_length: steps at most."""

    task: str | None = "all"
    fps: int = 15
    episode_length: int = 200
    image_size: int = 128
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

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
        return {"image_size": self.image_size, "episode_length": self.episode_length}

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
        """One vector environment for each task."""
        tasks = TASKS if self.task in (None, "all") else tuple(self.task.split(","))
        kind = gymnasium.vector.AsyncVectorEnv if use_async_envs and n_envs > 1 else gymnasium.vector.SyncVectorEnv
        more: dict[str, Any] = {"context": "forkserver"} if kind is gymnasium.vector.AsyncVectorEnv else {}

        def vector(task: str) -> gymnasium.vector.VectorEnv:
            make: Callable[[], TabletopEnvironment] = partial(TabletopEnvironment, task, **self.gym_kwargs)
            return kind([make] * n_envs, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP, **more)

        return {self.type: {number: vector(task) for number, task in enumerate(tasks)}}


def _bounds(contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    low = np.concatenate([f.low or (-np.inf,) * f.size for f in contract.action])
    high = np.concatenate([f.high or (np.inf,) * f.size for f in contract.action])
    return low.astype(np.float32), high.astype(np.float32)
