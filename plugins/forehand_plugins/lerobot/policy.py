"""LeRobot policy trained and served by Forehand: any ``PreTrainedPolicy``, with LeRobot's own processors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forehand.contracts.contract import Contract
from forehand.control.finite import require_observation
from forehand.data.window_spec import IMAGES, STATE, WindowSpec
from forehand.errors import ConfigurationError
from forehand.learning.recipe import Recipe
from forehand.policy import Policy, Prediction, Session, require_one_each
from forehand.robot import Observation
from forehand.utils.images import Size, resize
from forehand_plugins.lerobot.configuration import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, fetches_weights, make_module
from forehand_plugins.lerobot.optimization import optimizer_groups
from forehand_plugins.lerobot.random_numbers import own_random_numbers, random_state
from forehand_plugins.lerobot.sessions import Frame, LeRobotSession

Processors = tuple[Callable[[dict[str, Any]], dict[str, Any]], Callable[[Tensor], Tensor]]


class LeRobotPolicy(nn.Module, Policy):
    """A ``PreTrainedPolicy`` of LeRobot for robots of ``contract``.

    config: its ``PreTrainedConfig``; module: the policy itself; make_processors: device → LeRobot's pre- and
    postprocessor. cameras: camera of the contract → key of the policy's input. image_size, resize: what the images are
    brought to, None: the size that the camera has.

    A session holds its own frames: before each chunk the module's queues are filled from them anew. Policies that draw
    at random are computed one session after the other, each from a seed of its own, so that a batch changes nothing.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        config: Any,
        module: nn.Module,
        make_processors: Callable[[str], Processors],
        cameras: Mapping[str, str],
        image_size: int | Size | None = None,
        resize: str = "area",
    ) -> None:
        super().__init__()
        self.contract, self.config, self.policy, self.cameras = contract, config, module, dict(cameras)
        self.image_size, self.resize = image_size, resize
        self.processors = functools.cache(make_processors)
        self.deltas: tuple[int, ...] | None = _indices(config.observation_delta_indices)
        if config.reward_delta_indices is not None or max(self.deltas or (0,)) > 0:
            raise ConfigurationError(
                f"policy.type={config.type} learns from rewards or from later observations, which windows of "
                f"demonstrations do not hold. Choose another, such as act or diffusion."
            )
        self.offsets = self.deltas or (0,)
        self.history = 1 - min(self.offsets)
        in_groups = {id(p) for group in optimizer_groups(module, 1.0) for p in group["params"]}
        for parameter in module.parameters():
            if id(parameter) not in in_groups:
                parameter.requires_grad_(False)  # LeRobot does not train it either

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.policy.parameters()).device

    # ---- training ------------------------------------------------------------------------------------------------------

    @property
    def window(self) -> WindowSpec:
        """The policy's delta indices as offsets."""
        actions = _indices(self.config.action_delta_indices) or (0,)
        keys = [*(IMAGES + camera for camera in self.cameras), *([STATE] if self.contract.state_size else [])]
        return WindowSpec(
            observation=dict.fromkeys(keys, self.offsets),
            target={ACTION_KEY: actions},
            image_size=self.image_size,
            resize=self.resize,
        )

    def load_pretrained(self) -> None:
        """Fetch the weights that the configuration names, such as those of the vision backbone; else nothing."""
        if not fetches_weights(self.config):
            return
        try:
            fetched = make_module(self.config, fetch=True)
        except ConfigurationError:
            raise
        except Exception as error:  # a download fails in many ways
            raise ConfigurationError(
                f"The pretrained weights of policy.type={self.config.type} cannot be fetched ({error}). To train from "
                f"scratch: +policy.options.pretrained_backbone_weights=null"
            ) from error
        self.policy.load_state_dict(fetched.state_dict())

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """The groups of LeRobot's optimizer preset: their rates relative to the preset's, and their weight decays."""
        return optimizer_groups(self.policy, recipe.learning_rate)

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of windows and its terms, as LeRobot computes them."""
        observation, target = batch["observation"], batch["target"]
        theirs: dict[str, Any] = {"task": list(observation["instruction"])}
        for ours, key in self._keys:
            values = observation[ours] if ours == STATE else _to_levels(observation[ours])
            theirs[key] = values if self.deltas is not None else values[:, 0]
            if self.deltas is not None:
                valid = observation.get(f"{ours}_valid")
                shape = values.shape[:2]
                theirs[f"{key}_is_pad"] = values.new_zeros(shape, dtype=torch.bool) if valid is None else ~valid
        actions, missing = target[ACTION_KEY], ~target[f"{ACTION_KEY}_valid"]
        if self.config.action_delta_indices is None:
            actions, missing = actions[:, 0], missing[:, 0]
        theirs |= {ACTION_KEY: actions, f"{ACTION_KEY}_is_pad": missing}
        loss, terms = self.policy(self._preprocess(theirs))
        numbers = {n: v for n, v in (terms or {}).items() if n != "loss" and isinstance(v, int | float)}
        return loss, {name: loss.new_tensor(float(value)) for name, value in numbers.items()}

    # ---- inference -----------------------------------------------------------------------------------------------------

    def open(self, instruction: str, seed: int = 0) -> LeRobotSession:
        """A new session with an empty history."""
        return LeRobotSession(instruction, seed, self.history)

    @functools.cached_property
    def samples(self) -> bool:  # type: ignore[override]
        """Whether a chunk is drawn at random: whether computing one advances torch's generators."""
        session = self.open("")
        cameras = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in self.contract.cameras}
        self.remember(session, [Observation(cameras, np.zeros(self.contract.state_size, np.float32), 0.0)])
        with own_random_numbers(self.device, 0):
            before = random_state(self.device)
            self._predict([session])
            return not torch.equal(before, random_state(self.device))

    @torch.no_grad()
    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """One chunk for each session; LeRobot's policies give no forecasts."""
        if not sessions:
            return []
        require_one_each(sessions, observations)
        mine = [_require_own(session) for session in sessions]
        sampled = self.samples
        for session, frame in zip(mine, [self._frame(o) for o in observations], strict=True):
            session.frames.append(frame)
        if sampled:
            chunks = []
            for session in mine:
                with own_random_numbers(self.device, session.next_seed()):
                    chunks.append(self._predict([session])[0])
        else:
            chunks = list(self._predict(mine))
        for session, chunk in zip(mine, chunks, strict=True):
            if not np.isfinite(chunk).all():  # what led to it must not lead to the next answer too
                session.reset()
        return [Prediction(chunk) for chunk in chunks]

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        """Append frames to the session's history."""
        own = _require_own(session)
        own.frames.extend([self._frame(o) for o in observations[-self.history :]])

    def describe(self) -> dict[str, Any]:
        """LeRobot's name of the policy, its parameters, and where the weights came from."""
        return {
            "policy": f"lerobot {self.config.type}",
            "history": self.history,
            **({"samples": True} if self.samples else {}),
            "parameters": sum(p.numel() for p in self.policy.parameters()),
            **self.origin,
        }

    @property
    def _keys(self) -> list[tuple[str, str]]:
        """Forehand's and LeRobot's names of what the policy observes."""
        images = [(IMAGES + camera, key) for camera, key in self.cameras.items()]
        return [*images, *([(STATE, STATE_KEY)] if STATE_KEY in self.config.input_features else [])]

    def _frame(self, observation: Observation) -> Frame:
        require_observation(observation, self.contract, self.cameras)
        frame: Frame = {STATE_KEY: observation.state.astype(np.float32)} if self.contract.state_size else {}
        for camera, key in self.cameras.items():
            image = observation.images[camera]
            frame[key] = image if self.image_size is None else resize(image[None], self.image_size, self.resize)[0]
        return frame

    def _predict(self, sessions: Sequence[LeRobotSession]) -> np.ndarray:
        """Chunks (B, H, A) float32 in the contract's units, of sessions whose newest frame is in their histories."""
        windows = [session.window(self.offsets) for session in sessions]
        batch: dict[str, Any] = {"task": [session.instruction for session in sessions]}
        for key in windows[0][0]:
            values = torch.from_numpy(np.stack([np.stack([frame[key] for frame in frames]) for frames in windows]))
            values = _to_levels(values) if values.ndim == 5 else values
            batch[key] = values if len(self.offsets) > 1 else values[:, 0]
        training = self.policy.training
        self.policy.eval()
        batch = {key: value for key, value in self._preprocess(batch).items() if value is not None}
        self.policy.reset()  # type: ignore[operator]
        try:
            chunk = self.policy.predict_action_chunk(self._fill_queues(batch))  # type: ignore[operator]
        finally:
            self.policy.reset()  # type: ignore[operator]
            self.policy.train(training)
        actions = self.processors(str(self.device))[1](chunk)
        return actions.float().cpu().numpy()

    def _fill_queues(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Fill the observation queues of a policy that has any, frame by frame; returns what it then takes."""
        from lerobot.policies.utils import populate_queues

        queues = getattr(self.policy, "_queues", None)
        if not isinstance(queues, dict) or not set(queues) - {ACTION_KEY}:
            return batch
        images = [key for key in self.config.image_features if key in batch]
        newest = batch
        for time in range(len(self.offsets)):
            several = len(self.offsets) > 1
            newest = {k: v[:, time] if several and k in self.config.input_features else v for k, v in batch.items()}
            if images:
                newest[IMAGE_PREFIX[:-1]] = torch.stack([newest[key] for key in images], dim=-4)
            populate_queues(queues, newest)
        return newest

    def _preprocess(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self.processors(str(self.device))[0](batch)


def _indices(given: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if given is None else tuple(int(i) for i in given)


def _to_levels(images: Tensor) -> Tensor:
    """(…, H, W, 3) uint8 → (…, 3, H, W) float32 from 0 to 1."""
    return images.movedim(-1, -3).to(torch.float32) / 255


def _require_own(session: Session) -> LeRobotSession:
    if not isinstance(session, LeRobotSession):
        raise ConfigurationError(f"a session of another policy was given: {type(session).__name__}.")
    return session
