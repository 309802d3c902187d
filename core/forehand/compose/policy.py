"""Policy composed of parts, trained on windows and served to many sessions. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forehand.compose.composition import Composition
from forehand.compose.forecasts import decode_forecasts
from forehand.compose.inverse import ACTS_NOT, action_offsets
from forehand.compose.losses import window_loss
from forehand.compose.parts import (
    FEATURES,
    IMAGES,
    INSTRUCTION,
    SENSORS,
    STATE,
    ActionHead,
    DecodesFeatures,
    IterativeActionHead,
    LossTerms,
    SamplingActionHead,
    WorldModel,
)
from forehand.compose.session import ComposedSession
from forehand.compose.streaming import NewestReadouts
from forehand.control.finite import require_observation
from forehand.errors import ConfigurationError
from forehand.policy import Policy, Prediction, Session, require_one_each
from forehand.robot import Observation
from forehand.utils.images import resize


class ComposedPolicy(Composition, Policy):
    """A :class:`Composition` that can be trained and served.

    Training computes the queries of every timestep that yields a loss, a session only those of its newest frame; both
    compute only the tokens that these depend on. ``inference_precision``: what sessions are computed in where it loses
    little, if not in the weights' own (:func:`forehand.compose.acceleration.accelerate`). ``make_session`` opens its
    sessions (:func:`forehand.compose.interventions.intervene`).
    """

    inference_precision: torch.dtype | None = None
    make_session: Callable[[str, int], ComposedSession] = ComposedSession

    @property
    def window(self) -> dict[str, Any]:
        """What a window of training data must hold, as options of :class:`forehand.data.windows.WindowDataset`."""
        model = self.world_model
        targets = {key: [0, *model.horizons] for key in model.target_vectors} if model else {}
        if self.inverse_dynamics and self.action_head:
            targets["actions"] = list(action_offsets(self.action_head.chunk))
        return {
            "history": self.history,
            "image_size": self.image_size,
            "resize": self.resize,
            "cameras": list(self.cameras),
            "sensors": [sensor.name for sensor in self.contract.sensors],
            "chunk": self.action_head.chunk if self.action_head else 1,
            "horizon": _one_or_several(model.horizons) if model and model.cameras else None,
            **({"targets": targets} if targets else {}),
            **({"seen": list(self.seen)} if len(self.seen) < self.history else {}),
        }

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, LossTerms]:
        """The loss of a batch of windows (see :mod:`forehand.data.windows`) and its terms, each a scalar."""
        return window_loss(self, batch["observation"], batch["target"])

    @property
    def samples(self) -> bool:  # type: ignore[override]
        """Whether the action head draws its actions at random, by the session's seed."""
        return self.action_head is not None and bool(self.action_head.noise_shape)

    @property
    def acts(self) -> bool:  # type: ignore[override]
        """Whether it has an action head, and that is no inverse model."""
        return self.action_head is not None and not self.inverse_dynamics

    def open(self, instruction: str, seed: int = 0) -> ComposedSession:
        """A new session with an empty history."""
        return self.make_session(instruction, seed)

    @torch.inference_mode()
    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """Encode the newest frames in one batch, then run the backbone for all sessions (:class:`NewestReadouts`)."""
        if self.action_head is None:
            raise ConfigurationError("this policy has no action head: it can forecast but not act.")
        if self.inverse_dynamics:
            raise ConfigurationError(ACTS_NOT)
        if not sessions:
            return []
        require_one_each(sessions, observations)
        mine = [self._require_own(s) for s in sessions]
        with self._inference_autocast():
            return self._step(mine, observations, forecast)

    def _step(
        self, mine: Sequence[ComposedSession], observations: Sequence[Observation], forecast: bool
    ) -> list[Prediction]:
        assert self.action_head is not None
        act, foresee = self.action_head, self.world_model if forecast and self.foresight_control is None else None
        inputs = self._observe(mine, observations, features=isinstance(foresee, DecodesFeatures))
        newest = NewestReadouts(self, mine, self._wanted(foresee))
        actions = self.normalize_action.inverse(self._act(act, newest, mine, inputs)).float().cpu().numpy()
        if self.delta_actions is not None:
            states = np.stack([observation.state for observation in observations])
            actions = self.delta_actions.to_absolute(actions, states).astype(np.float32)
        for session, chunk in zip(mine, actions, strict=True):
            if not np.isfinite(chunk).all():  # what led to it must not lead to the next answer too
                session.reset()
        if foresee is None:
            return [Prediction(actions=chunk) for chunk in actions]
        forecasts = decode_forecasts(foresee, newest.readouts[foresee.group.name], inputs, self.absent_cameras)
        return [Prediction(chunk, forecast) for chunk, forecast in zip(actions, forecasts, strict=True)]

    def _wanted(self, foresee: WorldModel | None) -> tuple[str, ...]:
        """The groups whose readouts a step needs: those of the action head and of ``foresee``, which shows a forecast."""
        return tuple(part.group.name for part in (foresee, self.action_head) if part is not None)

    def _act(
        self, head: ActionHead, newest: NewestReadouts, sessions: Sequence[ComposedSession], inputs: Mapping[str, Any]
    ) -> Tensor:
        """Chunks of normalized actions, (B, chunk, A); noise comes from each session's own seed."""
        if isinstance(head, IterativeActionHead):
            return head.sample(newest.read, self._noise(head, sessions))
        readout = newest.readouts[head.group.name].float()
        with torch.autocast(self.device.type, enabled=False):  # as in training
            if isinstance(head, SamplingActionHead):
                return head.sample(readout, self._noise(head, sessions))
            actions: Tensor = head(readout)
        return actions

    def _noise(self, head: ActionHead, sessions: Sequence[ComposedSession]) -> Tensor:
        return torch.stack([s.noise(head.noise_shape) for s in sessions]).to(self.device)

    @torch.inference_mode()
    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        """Encode frames into the session's history in one batch, without those older than its window."""
        if not observations:
            return
        newest = observations[-self.history :]
        with self._inference_autocast():
            self._observe([self._require_own(session)] * len(newest), newest)

    def _inference_autocast(self) -> AbstractContextManager[Any]:
        dtype = self.inference_precision
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def _require_own(self, session: Session) -> ComposedSession:
        if not isinstance(session, ComposedSession):
            raise ConfigurationError(f"a session of another policy was given: {type(session).__name__}.")
        return session

    def _observe(
        self, sessions: Sequence[ComposedSession], observations: Sequence[Observation], features: bool = False
    ) -> dict[str, Tensor]:
        """Encode one new frame for each session, once, and the instruction where it is new.

        Returns images and states, with ``features`` also the present features of those that the world model forecasts.
        Raises :class:`ContractMismatch` or :class:`NotFinite` before any session has changed.
        """
        for observation in observations:
            require_observation(observation, self.contract, [c for c in self.cameras if c not in self.absent_cameras])
        if fresh := [s for s in sessions if s.instruction_tokens is None]:
            text = self.encode({INSTRUCTION: [s.instruction for s in fresh]}, once=True)
            for i, session in enumerate(fresh):
                session.keep_instruction({name: t[i : i + 1] for name, t in text.items()})
        inputs = self.inputs(observations, [s.instruction for s in sessions])
        if features:
            inputs |= self.towers.features([FEATURES + name for name in self.target_features], inputs)
        tokens = self.encode(inputs, once=False)
        for i, session in enumerate(sessions):
            session.append_frame({name: t[i : i + 1] for name, t in tokens.items()}, self.history)
        return inputs

    def inputs(self, observations: Sequence[Observation], instructions: Sequence[str]) -> dict[str, Any]:
        """What the encoders take of N observations under their instructions, on the policy's device.

        ``images.<camera>`` (N, H, W, 3) uint8, ``state`` (N, S), ``sensors.<name>`` and ``instruction``, N strings.
        """
        device = self.device
        inputs: dict[str, Any] = {
            STATE: torch.from_numpy(np.stack([o.state for o in observations], dtype=np.float32)).to(device),
            INSTRUCTION: list(instructions),
        }
        for camera in self.absent_cameras:
            black = torch.zeros(len(observations), self.image_size, self.image_size, 3, dtype=torch.uint8, device=device)
            inputs[IMAGES + camera] = black
            inputs[f"{IMAGES}{camera}_valid"] = black.new_zeros(len(observations), dtype=torch.bool)
        for camera in (c for c in self.cameras if c not in self.absent_cameras):
            frames = [resize(o.images[camera][None], self.image_size, self.resize)[0] for o in observations]
            inputs[IMAGES + camera] = torch.from_numpy(np.stack(frames)).to(device)
        for sensor in self.contract.sensors:
            measured = np.stack([sensor.padded(o.sensors[sensor.name]) for o in observations])
            inputs[SENSORS + sensor.name] = torch.from_numpy(measured).to(device)
        return inputs

    def describe(self) -> dict[str, Any]:
        """Parameters in all and by part, and where the weights came from."""
        encoders = {f"encoder {slot}": encoder for slot, encoder in self.encoders.items()}
        parts = {**encoders, "backbone": self.backbone, **self.query_parts}
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
        return {
            "policy": "composed",
            "history": self.history,
            **({"samples": True} if self.samples else {}),
            "parameters": sum(counts.values()),
            "parameters_by_part": counts,
            **self.origin,
        }


def _one_or_several(horizons: tuple[int, ...]) -> int | tuple[int, ...]:
    return horizons[0] if len(horizons) == 1 else horizons
