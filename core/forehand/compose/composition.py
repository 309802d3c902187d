"""Composition of parts: encoders, a backbone, a world model and an action head, tied by the reads table. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forehand.compose.augmented_windows import Augmentations
from forehand.compose.composition_checks import (
    check_detach,
    check_encoders,
    check_inverse_dynamics,
    check_iterative_head,
    check_lookahead,
    check_tables,
    check_target_features,
)
from forehand.compose.controls import require_control
from forehand.compose.delta_actions import read_actions
from forehand.compose.initialization import initialize, require_initialization
from forehand.compose.making import PartConfig, make_part, require_module_names
from forehand.compose.normalization import Statistics, make_normalizers
from forehand.compose.parts import (
    FEATURES,
    IMAGES,
    INSTRUCTION,
    SENSORS,
    STATE,
    VALID,
    ActionHead,
    Backbone,
    Encoder,
    Inputs,
    Pretrained,
    VisionTower,
    WorldModel,
    require_cameras,
)
from forehand.compose.plans import Plans, roles
from forehand.compose.token_dropout import TokenDropout, drop_tokens
from forehand.compose.tokens import (
    OBSERVATION,
    Layout,
    Reads,
    TokenGroup,
    lookahead,
)
from forehand.compose.towers import SharedTowers
from forehand.compose.validity import hide_absent, hide_invalid, layout_validity
from forehand.compose.window_tokens import window_tokens
from forehand.contracts.contract import Camera, Contract
from forehand.contracts.sensor import Sensor
from forehand.data.frozen_features import FrozenFeatures
from forehand.data.window_spec import MOST_TIMESTEPS
from forehand.errors import ConfigurationError, nearest
from forehand.utils.images import METHODS
from forehand.utils.numbers import count

QueryParts = Mapping[str, WorldModel | ActionHead]
"""The parts that own query tokens, by the name of their group."""


class Composition(nn.Module):
    """Parts, found by name in the registry, tied together by ``reads`` and nothing else.

    In Python, a part may also be given as an object, made for the same contract, dim, history and image size.

    contract, statistics: of the data it is trained on. dim: D, the width of tokens. history: T, the longest window.
    image_size: height and width that images are resized to. encoders: slot → part (``{name: ..., options}``), in the
    order of their tokens. backbone, world_model, action_head: parts; the last two may be None. reads: see
    :mod:`forehand.compose.tokens`. towers: name → vision tower (``{name: ..., options}``), made once and shared by the
    parts that read or forecast its features (:mod:`forehand.compose.towers`). detach: ``foresight``, ``action`` or both:
    whose loss sends no gradient into the encoders, at the price of another pass through the backbone in training. share:
    a composition of the same options for other data, whose parts stand in for those that depend on no state or action.
    absent_cameras: those that other data have and these do not; where parts read them, nothing reads their tokens.
    normalization: methods for ``state`` and ``action``, or their settings
    (:class:`~forehand.compose.normalization.Normalization`). actions: what the action head predicts: ``absolute``, the
    contract's actions, or ``delta`` with its options (:mod:`forehand.compose.delta_actions`). foresight_control: what the
    world model is compared with instead of the future, in an ablation (:mod:`forehand.compose.controls`). augmentations:
    what is done to images in training, for every camera or by camera, and random_shift: camera → pixels, or options, of a
    shift that comes first (:mod:`forehand.compose.augmented_windows`). initialization: of linear maps and queries, where
    their parts' own is not wanted (:mod:`forehand.compose.initialization`). token_dropout: what readers do without in
    training, at random (:mod:`forehand.compose.token_dropout`). inverse_dynamics: the action head finds the actions
    that led to a timestep, not those to be done there (:mod:`forehand.compose.inverse`). resize: how images come to
    their size (:func:`forehand.utils.images.resize`). lookahead: how many timesteps at the end of a window give no loss,
    where it is to be more than rules read ahead. beyond_end: what ``+k`` reads behind an episode's last frame:
    ``last_frame``, or None, so that a timestep without a goal gives no loss.

    Raises :class:`ConfigurationError` for parts, tables and cameras that do not fit each other.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        statistics: Statistics,
        dim: int,
        history: int,
        image_size: int,
        encoders: Mapping[str, PartConfig | None],
        backbone: PartConfig,
        world_model: PartConfig | None = None,
        action_head: PartConfig | None = None,
        reads: Reads,
        normalization: Mapping[str, str | Mapping[str, Any]],
        actions: str | Mapping[str, Any] | None = None,
        towers: Mapping[str, Mapping[str, Any] | None] | SharedTowers | None = None,
        detach: Sequence[str] | None = None,
        share: Composition | None = None,
        absent_cameras: Sequence[Camera] = (),
        foresight_control: str | None = None,
        augmentations: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]] | None] | None = None,
        random_shift: Mapping[str, int | Mapping[str, Any]] | None = None,
        initialization: Mapping[str, str | None] | None = None,
        token_dropout: TokenDropout | None = None,
        inverse_dynamics: bool = False,
        resize: str = "area",
        lookahead: int = 0,
        beyond_end: str | None = None,
    ) -> None:
        super().__init__()
        count(**{"policy.dim": dim, "policy.image_size": image_size})
        count(most=MOST_TIMESTEPS, **{"policy.history": history})
        if not isinstance(share, Composition | None):
            raise ConfigurationError(f"share: a composition, which only Python code can give, not {share!r}.")
        if not all(isinstance(camera, Camera) for camera in absent_cameras):
            raise ConfigurationError(f"absent_cameras: cameras, which only Python code can give, not {absent_cameras!r}.")
        self.contract, self.history, self.image_size = contract, history, image_size
        contract = replace(contract, cameras=(*contract.cameras, *absent_cameras))  # as its parts know it
        if resize not in METHODS:
            raise ConfigurationError(f"resize: unknown method {resize!r}. {nearest(resize, METHODS)}")
        self.resize = resize
        check_lookahead(lookahead, beyond_end, history)
        self._least_lookahead, self.beyond_end = lookahead, beyond_end
        self.reads = {reader: dict(row or {}) for reader, row in reads.items()}
        self.token_dropout: TokenDropout = token_dropout or {}
        own_towers = towers if isinstance(towers, SharedTowers) else _make_towers(towers or {}, image_size)
        self.towers: SharedTowers = share.towers if share else own_towers
        shared = {"contract": contract, "dim": dim, "image_size": image_size, "towers": self.towers.shapes}

        require_module_names("encoders", encoders)
        common = {s: e for s, e in share.encoders.items() if STATE not in e.inputs} if share else {}
        self.encoders: dict[str, Encoder] = nn.ModuleDict(  # type: ignore[assignment]
            {
                s: common.get(s) or make_part("encoder", config, shared)
                for s, config in encoders.items()
                if config is not None
            }
        )
        self.backbone: Backbone = (
            share.backbone if share else make_part("backbone", backbone, {**shared, "history": history})
        )
        self.world_model: WorldModel | None = None
        if world_model:
            other = share.world_model if share else None
            same = other is not None and STATE not in other.target_vectors
            self.world_model = other if same else make_part("world_model", world_model, shared)
        self.delta_actions = read_actions(actions, contract) if action_head and contract.action else None
        predicted = self.delta_actions.fields if self.delta_actions else contract.action
        self.action_head: ActionHead | None = (
            make_part("action_head", action_head, {**shared, "contract": replace(contract, action=predicted)})
            if action_head
            else None
        )
        if self.world_model is None and self.action_head is None:
            raise ConfigurationError("policy: neither a world model nor an action head: nothing to learn.")
        self.groups = [
            TokenGroup(g.name, g.count, (*g.tags, OBSERVATION), g.scope) for e in self.encoders.values() for g in e.groups
        ]
        self.query_parts: QueryParts = {
            part.group.name: part for part in (self.world_model, self.action_head) if part is not None
        }
        self.detach = tuple(detach or ())
        require_control(foresight_control)
        self.foresight_control = foresight_control
        self.cameras = self._cameras()
        self.absent_cameras = tuple(camera.name for camera in absent_cameras if camera.name in self.cameras)
        blind = len(self.absent_cameras) == len(self.cameras)
        require_cameras(self.contract if blind else contract, self.cameras, "the policy")
        self.augmentations = Augmentations(augmentations, random_shift, self.cameras)
        if share:
            read = share.contract.sensors
            if read != tuple(s for s in contract.sensors if s.name in {sensor.name for sensor in read}):
                raise ConfigurationError(
                    f"The shared parts read the sensors {[s.name for s in read]}, which these data lack, or measure "
                    f"otherwise."
                )
        self.contract = replace(self.contract, sensors=self._sensors())  # what is not read, a robot need not have
        check_encoders(self.encoders.values())
        check_target_features(self.target_features, self.towers)
        check_detach(self.detach, self.query_parts)
        check_iterative_head(self.action_head, self.reads)
        self.inverse_dynamics = inverse_dynamics
        if inverse_dynamics:
            check_inverse_dynamics(self.action_head, history, self.delta_actions is not None, self.lookahead)
        groups = [*self.groups, *(part.group for part in self.query_parts.values())]
        check_tables(self.reads, self.token_dropout, groups, history)

        chunk = self.action_head.chunk if self.action_head else 1
        self.normalize_state, self.normalize_action = make_normalizers(
            normalization, contract, statistics, chunk, self.delta_actions
        )
        require_initialization(initialization or {})
        theirs = set(share.modules()) if share else set()
        own = [module for module in self.modules() if module not in theirs]
        initialize(initialization or {}, own, [p.queries for p in self.query_parts.values() if p not in theirs])
        self.plans = Plans(self.groups, [part.group for part in self.query_parts.values()], self.reads, history)

    def _cameras(self) -> tuple[str, ...]:
        """All cameras that an encoder takes or the world model forecasts, sorted."""
        keys = {key for encoder in self.encoders.values() for key in encoder.inputs}
        seen = {key.removeprefix(IMAGES) for key in keys if key.startswith(IMAGES)}
        features = [*(key for key in keys if key.startswith(FEATURES)), *map(FEATURES.__add__, self.target_features)]
        return tuple(sorted(seen.union(self.forecast_cameras, (self.towers.camera(key) for key in features))))

    def _sensors(self) -> tuple[Sensor, ...]:
        """All sensors beside cameras that an encoder takes, in the contract's order."""
        keys = {key for encoder in self.encoders.values() for key in encoder.inputs}
        return tuple(sensor for sensor in self.contract.sensors if SENSORS + sensor.name in keys)

    @property
    def forecast_cameras(self) -> tuple[str, ...]:
        """The cameras that the world model forecasts; none without a world model."""
        return tuple(self.world_model.cameras) if self.world_model else ()

    @property
    def target_features(self) -> tuple[str, ...]:
        """``<tower>.<camera>`` of the features that the world model is compared with."""
        return tuple(self.world_model.target_features) if self.world_model else ()

    @property
    def lookahead(self) -> int:
        """g: how far into the future a rule reads; the last g timesteps of a window give no loss."""
        return max(self._least_lookahead, *(lookahead(rule) for row in self.reads.values() for rule in row.values()), 0)

    @cached_property
    def seen(self) -> tuple[int, ...]:
        """The timesteps of a window of training whose images and sensors are read; all where a forecast has targets."""
        steps = max(1, self.history - self.lookahead)
        if self.world_model is not None:
            return tuple(range(self.history))
        read = self.plans.needed_timesteps(self.history, tuple(self.query_parts), tuple(range(steps)))
        return tuple(sorted({*range(steps), *read}))

    def predicted_actions(self, actions: Tensor, state: Tensor) -> Tensor:
        """Chunks of the contract's actions (..., H, A) from states (..., S) → what the action head predicts of them."""
        if self.delta_actions is None:
            return actions
        deltas = self.delta_actions.to_delta(actions.cpu().numpy(), state.cpu().numpy())
        return torch.from_numpy(deltas.astype(np.float32)).to(actions.device)

    @property
    def learns_partial_actions(self) -> bool:
        """Whether it can be trained on actions of which some numbers are unknown."""
        return self.action_head is None or (self.action_head.partial and self.delta_actions is None)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.normalize_state.center.device

    def readouts(
        self, observation: Inputs, steps: int | None = None, queries: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What every query token of the first ``steps`` timesteps (default all) has read: name → (B, steps, count, D).

        observation: ``images.<camera>`` (B, T, H, W, 3), ``sensors.<name>`` (B, T, *shape) as measured, ``state``
        (B, T, S) in the contract's units, ``instruction`` (B strings, or (B, F) features); images and sensors of all T
        timesteps, or of those :attr:`seen`; ``frames`` (B, T), numbers of the frames, where windows share some. queries:
        tokens (B, steps, count, D) of a group in place of its learned ones.
        """
        length = observation[STATE].shape[1]
        tokens = window_tokens(self, observation)
        asked = tuple(range(length if steps is None else steps))
        detached = tuple(name for name in self.query_parts if name in self.detach and self.training)
        attached = tuple(name for name in self.query_parts if name not in detached)
        readouts: dict[str, Tensor] = {}
        if attached:
            readouts |= self._read(tokens, length, attached, asked, queries or {})
        for name in detached:
            fixed = {key: values.detach() for key, values in tokens.items()}
            readouts |= self._read(fixed, length, (name,), asked, queries or {})
        return {name: readouts[name] for name in self.query_parts}

    def _read(
        self,
        tokens: Mapping[str, Tensor],
        length: int,
        wanted: tuple[str, ...],
        asked: tuple[int, ...],
        queries: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """One pass through the backbone for the ``wanted`` queries at the timesteps ``asked``."""
        plan = self.plans.window(length, wanted, asked, self.device)
        mask = plan.mask
        if self.training and self.token_dropout:
            mask = drop_tokens(mask, plan.layout, self.token_dropout)
        if valid := {k.removeprefix(VALID): v for k, v in tokens.items() if k.startswith(VALID)}:
            mask = hide_invalid(mask, layout_validity(plan.layout, valid))
        sequence = arrange(plan.layout, tokens, self.query_parts, queries)
        out = self.backbone(sequence, plan.timesteps, mask, **roles(self.backbone, plan.queries))
        counts = [self.query_parts[name].group.count for name in wanted]
        read = out.index_select(1, plan.query_index).split([len(asked) * count for count in counts], dim=1)
        return {name: r.unflatten(1, (len(asked), count)) for name, r, count in zip(wanted, read, counts, strict=True)}

    def encode(self, inputs: Inputs, *, once: bool) -> dict[str, Tensor]:
        """Tokens of the encoders that run once an instruction, or of those that run once a frame.

        Those of what is absent (``state_valid``, ``images.<camera>_valid``) are not valid.
        """
        prepared = dict(inputs)
        wanted = {key for e in self.encoders.values() for key in e.inputs}
        if STATE in prepared and STATE in wanted:  # what is not read may be another state than that of training
            prepared[STATE] = self.normalize_state(prepared[STATE])
        for sensor in self.contract.sensors:
            if (key := SENSORS + sensor.name) in prepared:
                prepared[key] = prepared[key].float() * sensor.scale
        if not once:
            prepared |= self.towers.features(wanted, prepared)
        tokens: dict[str, Tensor] = {}
        for encoder in self.encoders.values():
            if (encoder.inputs == (INSTRUCTION,)) == once:
                made = encoder({key: prepared[key] for key in encoder.inputs})
                tokens |= hide_absent(made, encoder, inputs)
        return tokens

    def frozen_features(self) -> dict[str, FrozenFeatures]:
        """Features of shared towers that do not learn, of cameras without augmentation: windows may hold them."""
        read = {key for encoder in self.encoders.values() for key in encoder.inputs if key.startswith(FEATURES)}
        wanted = read.union(FEATURES + name for name in self.target_features)
        return self.towers.frozen(key for key in wanted if self.towers.camera(key) not in self.augmentations)

    def compile(self, *given: Any, **options: Any) -> None:
        """Let ``torch.compile`` have what computes most: vision towers, the backbone and the world model."""
        for part in self.modules():
            if isinstance(part, VisionTower | Backbone | WorldModel):
                part.compile(*given, **options)

    def resolved_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """``config``, from which this was made, with the options that its parts read from files."""
        resolved = dict(config)
        for key in ("backbone", "world_model", "action_head"):
            if config.get(key) and (options := _resolved_options(getattr(self, key))):
                resolved[key] = {**config[key], **options}
        found = {slot: options for slot, encoder in self.encoders.items() if (options := _resolved_options(encoder))}
        if found:
            encoders = config["encoders"]
            resolved["encoders"] = {**encoders, **{slot: {**encoders[slot], **found[slot]} for slot in found}}
        return resolved

    def load_pretrained(self) -> None:
        """Fill every part that does not start from scratch; a checkpoint's policy has no need of it."""
        for module in self.modules():
            if isinstance(module, Pretrained):
                module.load_pretrained()


def arrange(
    layout: Layout, tokens: Mapping[str, Tensor], queries: QueryParts, given: Mapping[str, Tensor] = MappingProxyType({})
) -> Tensor:
    """The sequence of a layout, (B, L, D), from the tokens of each group, (B, T, count, D), and learned queries.

    given: tokens, (B, T, count, D), that stand in for learned queries.
    """
    batch = len(next(iter(tokens.values())))
    by_step = {name: values.unbind(1) for name, values in {**tokens, **given}.items()}
    learned = {name: part.queries.expand(batch, -1, -1) for name, part in queries.items() if name not in given}
    blocks = [(b.group.name, b.timestep) for b in layout.blocks]
    return torch.cat([learned[name] if name in learned else by_step[name][step] for name, step in blocks], dim=1)


def _make_towers(configs: Mapping[str, Mapping[str, Any] | None], image_size: int) -> SharedTowers:
    return SharedTowers({name: config for name, config in configs.items() if config is not None}, image_size)


def _resolved_options(part: nn.Module | None) -> Mapping[str, Any]:
    return part.resolved_options if isinstance(part, Pretrained) else {}
