"""A policy made of parts: encoders, a backbone, a world model, an action head, and the table of who reads whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.augmentation import random_shift
from forehand.compose.hiding import Hide, hide
from forehand.compose.normalization import Normalizer, Statistics
from forehand.compose.parts import (
    IMAGES,
    INSTRUCTION,
    PRESENT,
    STATE,
    ActionHead,
    Backbone,
    Encoder,
    Inputs,
    Pretrained,
    Terms,
    VisionTower,
    WorldModel,
)
from forehand.compose.plans import Plans
from forehand.compose.session import ComposedSession
from forehand.compose.streaming import Streaming, arrange
from forehand.compose.tokens import OBSERVATION, Reads, TokenGroup, check_keys, check_reads, lookahead
from forehand.contract import Contract
from forehand.data.images import METHODS, resize
from forehand.errors import ConfigurationError
from forehand.policy import Policy, Prediction, Session
from forehand.registry import nearest, registry
from forehand.robot import Observation

PartConfig = Mapping[str, Any]


def _once(encoder: Encoder) -> bool:
    """Whether an encoder is run once an instruction rather than once a frame."""
    return encoder.inputs == (INSTRUCTION,)


class ComposedPolicy(nn.Module, Policy):
    """Parts, found by name in the registry, tied together by ``reads`` and nothing else.

    contract, statistics: of the data it is trained on. dim: D, the width of tokens. history: T, the longest window.
    image_size: height and width that images are resized to. encoders: slot → part (``{name: ..., options}``), in the
    order of their tokens. backbone, world_model, action_head: parts; the last two may be None. reads: see
    :mod:`forehand.compose.tokens`. normalization: methods for ``state`` and ``action``
    (:class:`~forehand.compose.normalization.Normalizer`). shift: camera → pixels of random shift in training. hide: what
    readers do without in training, at random (:mod:`forehand.compose.hiding`). resize: how images are brought to their
    size (:func:`forehand.data.images.resize`).

    Weights of sessions and of training are the same; only what is computed differs: training asks the queries of every
    timestep that yields a loss, a session only those of its newest frame, and either computes what they depend on alone.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        statistics: Statistics,
        dim: int,
        history: int,
        image_size: int,
        encoders: Mapping[str, PartConfig],
        backbone: PartConfig,
        world_model: PartConfig | None = None,
        action_head: PartConfig | None = None,
        reads: Reads,
        normalization: Mapping[str, str],
        shift: Mapping[str, int] | None = None,
        hide: Hide | None = None,
        resize: str = "area",
    ) -> None:
        super().__init__()
        self.contract, self.history, self.image_size = contract, history, image_size
        if resize not in METHODS:
            raise ConfigurationError(f"resize: unknown method {resize!r}. {nearest(resize, METHODS)}")
        self.resize = resize
        self.reads = {reader: dict(row or {}) for reader, row in reads.items()}
        self.shift = dict(shift or {})

        def make(kind: str, config: PartConfig, **extra: Any) -> Any:
            if "name" not in config:
                raise ConfigurationError(f"policy: a {kind} is configured without a name: {dict(config)}.")
            options = {k: v for k, v in config.items() if k != "name"}
            given = {"contract": contract, "dim": dim, "image_size": image_size, **extra}
            return registry().create(kind, config["name"], **given, **options)

        self.encoders: dict[str, Encoder] = nn.ModuleDict(  # type: ignore[assignment]
            {slot: make("encoder", config) for slot, config in encoders.items() if config is not None}
        )
        self.backbone: Backbone = make("backbone", backbone, history=history)
        self.world_model: WorldModel | None = make("world_model", world_model) if world_model else None
        self.action_head: ActionHead | None = make("action_head", action_head) if action_head else None
        if self.world_model is None and self.action_head is None:
            raise ConfigurationError("policy: neither a world model nor an action head: nothing to learn.")

        self.groups = [
            TokenGroup(g.name, g.count, (*g.tags, OBSERVATION)) for e in self.encoders.values() for g in e.groups
        ]
        self.query_parts: dict[str, WorldModel | ActionHead] = {
            part.group.name: part for part in (self.world_model, self.action_head) if part is not None
        }
        queries = [part.group for part in self.query_parts.values()]
        groups = [*self.groups, *queries]
        check_reads(self.reads, groups)
        self.hide: Hide = hide or {}
        check_keys("hide", self.hide, groups)
        cameras = self.window["cameras"]
        if unknown := [c for c in self.shift if c not in cameras]:
            raise ConfigurationError(f"shift: the policy has no camera {unknown[0]!r}. {nearest(unknown[0], cameras)}")

        self.normalize_state = Normalizer(
            normalization["state"], contract.state, statistics.get("observation.state", {}), "the state"
        )
        self.normalize_action = Normalizer(
            normalization["action"], contract.action, statistics.get("action", {}), "the action"
        )
        self._plans = Plans(self.groups, queries, self.reads, history)
        self._streaming = Streaming(self.backbone, self._plans, self.query_parts)

    # ---- training -------------------------------------------------------------------------------------------------

    @property
    def window(self) -> dict[str, Any]:
        """What a window of training data must hold, as options of :class:`forehand.data.windows.WindowDataset`."""
        keys = {key for encoder in self.encoders.values() for key in encoder.inputs}
        cameras = {key.removeprefix(IMAGES) for key in keys if key.startswith(IMAGES)}
        cameras.update(self._forecast_cameras)
        return {
            "history": self.history,
            "image_size": self.image_size,
            "resize": self.resize,
            "cameras": sorted(cameras),
            "chunk": self.action_head.chunk if self.action_head else 1,
            "horizon": self.world_model.horizon if self.world_model else None,
        }

    @property
    def _forecast_cameras(self) -> tuple[str, ...]:
        return self.world_model.cameras if self.world_model else ()

    @property
    def lookahead(self) -> int:
        """g: how far into the future a rule reads; the last g timesteps of a window give no loss."""
        return max((lookahead(rule) for row in self.reads.values() for rule in row.values()), default=0)

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, Terms]:
        """The loss of a batch of windows (see :mod:`forehand.data.windows`) and its terms, each a scalar."""
        steps = max(1, batch["target"]["valid"].shape[1] - self.lookahead)  # those behind have no goal, and give no loss
        seen = {PRESENT + camera: batch["observation"][IMAGES + camera] for camera in self._forecast_cameras}
        return self.losses(self.readouts(batch["observation"], steps), {**batch["target"], **seen})

    def losses(self, readouts: Mapping[str, Tensor], target: Inputs) -> tuple[Tensor, Terms]:
        """The loss of what the queries have read at a window's first timesteps, or all, against its target; its terms."""
        valid = target["valid"]
        if ahead := self.lookahead:  # what has no goal inside its episode gives no loss
            valid = valid & F.pad(valid[:, ahead:], (0, min(ahead, valid.shape[1])))
        steps = next(iter(readouts.values())).shape[1]
        valid, target = valid[:, :steps], {key: values[:, :steps] for key, values in target.items()}
        terms: Terms = {}
        total = torch.zeros((), device=valid.device)
        if self.world_model is not None:
            wanted = valid & target["future_valid"]
            terms |= self.world_model.loss(readouts[self.world_model.group.name], target, wanted)
        if self.action_head is not None:
            wanted = valid[..., None] & target["actions_valid"]
            actions = {"actions": self.normalize_action(target["actions"])}
            with torch.autocast(valid.device.type, enabled=False):  # it costs nothing, and actions are fine motions
                terms |= self.action_head.loss(readouts[self.action_head.group.name].float(), actions, wanted)
        for part in self.query_parts.values():
            for name, weight in part.weights.items():
                total = total + weight * terms[name]
        return total, terms

    def readouts(self, observation: Inputs, steps: int | None = None) -> dict[str, Tensor]:
        """What every query token of the first ``steps`` timesteps (default all) has read: name → (B, steps, count, D).

        observation: ``images.<camera>`` (B, T, H, W, 3), ``state`` (B, T, S) in the contract's units, ``instruction``
        (B strings, or (B, F) features).
        """
        batch, length = observation[STATE].shape[:2]
        frames = {k: v.reshape(-1, *v.shape[2:]) for k, v in observation.items() if k != INSTRUCTION}
        if self.training:
            frames |= {IMAGES + c: random_shift(frames[IMAGES + c], pixels) for c, pixels in self.shift.items()}
        instruction = observation[INSTRUCTION]
        frames[INSTRUCTION] = (
            instruction.repeat_interleave(length, dim=0)
            if isinstance(instruction, Tensor)
            else [sentence for sentence in instruction for _ in range(length)]
        )
        tokens = {
            name: t[:, None].expand(-1, length, -1, -1)
            for name, t in self._encode({INSTRUCTION: instruction}, once=True).items()
        } | {name: t.unflatten(0, (batch, length)) for name, t in self._encode(frames, once=False).items()}

        asked = tuple(range(length if steps is None else steps))
        plan = self._plans.window(length, tuple(self.query_parts), asked, self._device())
        mask = hide(plan.mask, plan.layout, self.hide) if self.training and self.hide else plan.mask
        out = self.backbone(arrange(plan.layout, tokens, self.query_parts), plan.timesteps, mask)
        counts = [part.group.count for part in self.query_parts.values()]
        read = out.index_select(1, plan.answering).split([len(asked) * count for count in counts], dim=1)
        return {
            name: r.unflatten(1, (len(asked), count))
            for name, r, count in zip(self.query_parts, read, counts, strict=True)
        }

    def _encode(self, inputs: Inputs, *, once: bool) -> dict[str, Tensor]:
        """Tokens of the encoders that run once an instruction, or of those that run once a frame."""
        prepared = dict(inputs)
        if STATE in prepared:
            prepared[STATE] = self.normalize_state(prepared[STATE])
        tokens: dict[str, Tensor] = {}
        for encoder in self.encoders.values():
            if _once(encoder) == once:
                tokens |= encoder({key: prepared[key] for key in encoder.inputs})
        return tokens

    def compile(self, *given: Any, **options: Any) -> None:
        """Let ``torch.compile`` have what computes most: vision towers, the backbone and the world model."""
        for part in self.modules():
            if isinstance(part, VisionTower | Backbone | WorldModel):
                part.compile(*given, **options)

    def load_pretrained(self) -> None:
        """Fill every part that does not start from scratch; a checkpoint's policy has no need of it."""
        for module in self.modules():
            if isinstance(module, Pretrained):
                module.load_pretrained()

    def _device(self) -> torch.device:
        return self.normalize_state.center.device

    # ---- running --------------------------------------------------------------------------------------------------

    def open(self, instruction: str) -> ComposedSession:
        """A new session with an empty history."""
        return ComposedSession(instruction)

    @torch.inference_mode()
    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """Encode the newest frames in one batch, then run the backbone for all sessions (:class:`Streaming`)."""
        if self.action_head is None:
            raise ConfigurationError("this policy has no action head: it can forecast but not act.")
        if not sessions:
            return []
        mine = [self._own(s) for s in sessions]
        images = self._observe(mine, observations)
        act, foresee = self.action_head, self.world_model if forecast else None
        wanted = tuple(part.group.name for part in (foresee, act) if part is not None)
        readouts = self._streaming(mine, wanted, self._device())
        actions = self.normalize_action.inverse(act(readouts[act.group.name])).float().cpu().numpy()
        if foresee is None:
            return [Prediction(actions=chunk) for chunk in actions]
        now = {camera: images[IMAGES + camera] for camera in foresee.cameras}
        pictures = {c: p.cpu().numpy() for c, p in foresee.pictures(readouts[foresee.group.name], now).items()}
        return [
            Prediction(chunk, {c: p[i] for c, p in pictures.items()}, foresee.horizon) for i, chunk in enumerate(actions)
        ]

    @torch.inference_mode()
    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        """Encode frames into the session's history in one batch; what would slide out again is left out."""
        newest = observations[-self.history :]
        self._observe([self._own(session)] * len(newest), newest)

    def _own(self, session: Session) -> ComposedSession:
        if not isinstance(session, ComposedSession):
            raise ConfigurationError(f"a session of another policy was given: {type(session).__name__}.")
        return session

    def _observe(self, sessions: Sequence[ComposedSession], observations: Sequence[Observation]) -> dict[str, Tensor]:
        """Encode one new frame for each session, once, and the instruction where it is new."""
        device = self._device()
        if fresh := [s for s in sessions if s.text is None]:
            text = self._encode({INSTRUCTION: [s.instruction for s in fresh]}, once=True)
            for i, session in enumerate(fresh):
                session.text = {name: t[i : i + 1] for name, t in text.items()}
        inputs: dict[str, Any] = {
            STATE: torch.from_numpy(np.stack([o.state for o in observations])).to(device),
            INSTRUCTION: [s.instruction for s in sessions],
        }
        for camera in self.window["cameras"]:
            frames = [resize(o.images[camera][None], self.image_size, self.resize)[0] for o in observations]
            inputs[IMAGES + camera] = torch.from_numpy(np.stack(frames)).to(device)
        tokens = self._encode(inputs, once=False)
        for i, session in enumerate(sessions):
            session.add({name: t[i : i + 1] for name, t in tokens.items()}, self.history)
        return inputs

    def describe(self) -> dict[str, Any]:
        """Parameters in all and by part, and where the weights came from."""
        encoders = {f"encoder {slot}": encoder for slot, encoder in self.encoders.items()}
        parts = {**encoders, "backbone": self.backbone, **self.query_parts}
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
        return {
            "policy": "composed",
            "history": self.history,
            "parameters": sum(counts.values()),
            "parameters_by_part": counts,
            **self.origin,
        }
