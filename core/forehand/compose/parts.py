"""Base classes of a composed policy's parts: encoders, backbone, action head, world model. Needs torch.

Factories of all four kinds are called as ``factory(contract=Contract, dim=int, image_size=int, **options)`` (a backbone's
also with ``history=int``): ``dim`` is D, the width of every token; ``image_size`` the height and width of the policy's
images. A factory that has a parameter ``towers`` gets the sizes of the policy's shared vision towers, name →
:class:`FeatureShape`. B is the batch, T the number of timesteps, N a number of frames (B·T in training, one for each
session at run time).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from forehand.compose.process_means import denominator
from forehand.compose.tokens import ACTION, FORESIGHT, TokenGroup
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import Sensor
from forehand.errors import ConfigurationError, nearest, no_camera

IMAGES = "images."
SENSORS = "sensors."
FUTURE = "future."
PRESENT = "present."
STATE = "state"
INSTRUCTION = "instruction"
FEATURES = "features."
STATE_VALID = "state_valid"
ACTIONS_KNOWN = "actions_known"
FRAMES = "frames"
VALID = "valid."

Inputs = Mapping[str, Any]
LossTerms = dict[str, Tensor]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` (broadcast from the left) is True; 0 where it never is. In float32 at least.

    Of processes that share a batch, the mean of their results is the mean over all (:mod:`.process_means`).
    """
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    weight = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)).expand_as(values).to(values.dtype)
    return (values * weight).sum() / denominator(weight.sum())


def known_numbers(target: Inputs, valid: Tensor) -> Tensor:
    """The numbers of the actions of a target that count, (B, T, chunk, A) bool.

    target, valid: those of :meth:`ActionHead.loss` of a head that is :attr:`~ActionHead.partial`.
    """
    counts = valid[..., None].expand_as(target["actions"])
    return counts & target[ACTIONS_KNOWN] if ACTIONS_KNOWN in target else counts


def valid_of_cameras(cameras: Sequence[str], target: Inputs, valid: Tensor) -> Tensor:
    """The timesteps that count for each of C cameras, (B, T, C), or (B, T, C, K) of K > 1 horizons.

    target, valid: those of :meth:`WorldModel.loss`.
    """
    return torch.stack([target.get(f"{FUTURE}{camera}_valid", valid) for camera in cameras], dim=2)


def require_cameras(contract: Contract, cameras: Iterable[str], part: str) -> None:
    """Raise :class:`ConfigurationError` if ``cameras`` of ``part`` names one that the contract lacks."""
    known = [camera.name for camera in contract.cameras]
    for camera in cameras:
        if camera not in known:
            raise ConfigurationError(f"{part}: {no_camera('the data', camera, known)}")


def require_sensor(contract: Contract, name: str, kind: str, part: str) -> Sensor:
    """The sensor ``name`` of a contract; raises :class:`ConfigurationError` where ``part`` cannot read it."""
    known = {sensor.name: sensor for sensor in contract.sensors}
    if name not in known:
        raise ConfigurationError(f"{part}: no sensor {name!r} in the data's contract. {nearest(name, known)}")
    if known[name].kind != kind:
        raise ConfigurationError(f"{part}: the sensor {name!r} is a {known[name].kind}, and a {kind} is needed.")
    return known[name]


def camera_of(key: str) -> str | None:
    """The camera of ``images.<camera>`` or ``features.<tower>.<camera>``; None for any other input."""
    if key.startswith(FEATURES):
        return key.removeprefix(FEATURES).partition(".")[2]
    return key.removeprefix(IMAGES) if key.startswith(IMAGES) else None


class Encoder(nn.Module, ABC):
    """Turns one modality of one timestep into one or more token groups.

    A subclass sets ``inputs`` and ``groups``. An encoder that reads only the instruction is run once an instruction; any
    other once a frame.
    """

    inputs: tuple[str, ...]
    """What it reads of an observation: ``images.<camera>`` (N, H, W, 3) uint8, or float where already normalized;
    ``features.<tower>.<camera>`` (N, P + 1, W), a shared vision tower's features of that camera's image, those of patches
    first and of the whole last; ``sensors.<name>`` (N, *shape) float, depth in metres and 0 where nothing was measured,
    point clouds with rows of NaN where there is no point; ``state`` (N, S) float; ``instruction``, N strings or (N, F)
    features computed beforehand."""

    groups: tuple[TokenGroup, ...]
    """``TokenGroup(name, count, tags, scope)`` for each key that :meth:`forward` returns. The composed policy adds the
    tag ``observation`` to each; ``tags`` (optional) are further keys by which rules of the reads table find the group.
    The scope may be ``episode`` where only the instruction is read."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Group name → tokens (N, count, D); ``valid.<group>`` (N, count) bool where some of them may be missing.

        No token reads what is not valid; its numbers are to be finite nonetheless.
        """

    def group_inputs(self, group: str) -> tuple[str, ...]:
        """The :attr:`inputs` that the tokens of a group are made of; where one of them is absent, they are not valid.

        By default, of a group that is called like a camera all but the other cameras, and of any other group all.
        """
        cameras = {key: camera for key in self.inputs if (camera := camera_of(key)) is not None}
        if group not in cameras.values():
            return self.inputs
        return tuple(key for key in self.inputs if cameras.get(key, group) == group)


class VisionTower(nn.Module, ABC):
    """Turns images into features, for camera encoders to stand on; made by ``factory(image_size=int, **options)``.

    ``width`` is W, that of every feature; ``patches`` is P, the patches of one image; ``grid`` their rows and columns, a
    square unless stated.
    """

    width: int
    patches: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patches."""
        side = math.isqrt(self.patches)
        return side, self.patches // side

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8, or float where already normalized → patches (N, P, W) and the whole (N, W)."""


@dataclass(frozen=True)
class FeatureShape:
    """Shape of a vision tower's features: ``grid`` of P patches, rows and columns, and their ``width`` W."""

    grid: tuple[int, int]
    width: int

    @property
    def patches(self) -> int:
        """P, the patches of one image."""
        return self.grid[0] * self.grid[1]


class Pretrained(ABC):
    """Interface of parts, or modules inside them, whose weights come from a file named in the configuration."""

    resolved_options: Mapping[str, Any] = MappingProxyType({})
    """A part's options that it read from that file when it was made; a checkpoint stores them with those that were given,
    so that it can be loaded where the file is not."""

    @abstractmethod
    def load_pretrained(self) -> None:
        """Fill the weights from the file; called once before training, never for a checkpoint, which holds them."""


class Backbone(nn.Module, ABC):
    """Runs all tokens of all timesteps under one mask, and adds an encoding of the timestep."""

    takes_queries: bool = False
    """Whether ``forward`` and ``forward_cached`` take a further keyword, ``queries``: (L,) or (N,) bool, which of the
    tokens are queries of a group that no other group reads; a decoder may compute those."""

    def truncate_history(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The ``weights`` of such a backbone with a history that may be longer, cut to this one's; by name, as stored."""
        return dict(weights)

    @abstractmethod
    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask (True: row reads column) → (B, L, D)."""


class StreamingBackbone(Backbone):
    """A backbone with a cache of earlier tokens, so that only new tokens need be computed.

    Sessions use it while their window grows. ``cache_width`` is M, how many numbers are cached for a token (keys and
    values of every layer, say).
    """

    cache_width: int

    @abstractmethod
    def forward_cached(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, query_index: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Output of some new tokens behind cached ones; the same as if all tokens had been run at once.

        tokens: (B, N, D), the new ones; timesteps: (N,) or (B, N); mask: (N, P + N) or (B, N, P + N) bool, what each
        reads of the earlier tokens and of the new. query_index: (A,), the new tokens whose output is returned. past:
        (B, P, M), the cache of the earlier tokens; rows that no token reads may hold any finite numbers. Without a past,
        P is 0 and nothing is to be cached.

        Returns the output, (B, A, D), and the cache of the new tokens, (B, N, M), or None without a past.
        """


class _Queries(nn.Module, ABC):
    """A part that owns ``count`` learned query tokens of one group."""

    group: TokenGroup

    def _create_queries(self, name: str, count: int, dim: int, std: float = 0.02) -> None:
        self.group = TokenGroup(name, count)
        self.queries = nn.Parameter(torch.randn(count, dim) * std)


class WorldModel(_Queries):
    """Owns query tokens and turns what they read into a forecast, ``horizon`` control steps ahead or at several horizons.

    ``cameras`` are the cameras it forecasts; ``weights`` the weight of each of its loss terms in the policy's loss.
    ``target_features``: ``<tower>.<camera>`` of the shared vision towers whose features the loss compares with.
    ``target_vectors``: ``state`` or ``sensors.<name>`` of vectors that it compares with; the sensor is needed in training
    only.

    A model that can show its forecast is a :class:`DecodesImages` or a :class:`DecodesFeatures` too.
    """

    horizon: int | tuple[int, ...]
    cameras: tuple[str, ...]
    weights: Mapping[str, float]
    target_features: tuple[str, ...] = ()
    target_vectors: tuple[str, ...] = ()

    @property
    def horizons(self) -> tuple[int, ...]:
        """The horizons in control steps, ascending; K of them."""
        return (self.horizon,) if isinstance(self.horizon, int) else tuple(self.horizon)

    def _add_queries(self, count: int, dim: int) -> None:
        self._create_queries(FORESIGHT, count, dim)

    @abstractmethod
    def forward(self, readout: Tensor) -> Tensor:
        """(..., count, D) readout → the raw forecast, in whatever space the loss compares it."""

    @abstractmethod
    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """Scalar loss terms from (B, T, count, D) readout.

        target: ``future.<camera>`` and ``present.<camera>`` (B, T, H, W, 3), the images ``horizon`` steps ahead and those
        of each timestep itself, uint8 or already normalized; valid: (B, T) bool, the timesteps that count. Of several
        horizons, ``future.<camera>`` (B, T, K, H, W, 3) and valid (B, T, K). Where some windows lack a camera, ``valid``
        is of those that have all, and :func:`valid_of_cameras` of each camera. For each of :attr:`target_features` also
        ``future.features.<tower>.<camera>`` (B, T, P + 1, W), or (B, T, K, P + 1, W), and
        ``present.features.<tower>.<camera>`` (B, T, P + 1, W), without gradient. For each of :attr:`target_vectors`
        likewise (B, T, n) or (B, T, K, n); the state is normalized.
        """


@runtime_checkable
class DecodesImages(Protocol):
    """A world model whose forecast can be shown as images."""

    def decode_images(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each camera is expected to see: (N, count, D) readout and the images now → (N, H, W, 3) uint8.

        Of several horizons: (N, K, H, W, 3).
        """


@runtime_checkable
class DecodesFeatures(Protocol):
    """A world model whose forecast is features of patches, for those of :attr:`WorldModel.target_features`."""

    def decode_features(self, readout: Tensor, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each tower is expected to make of the future: (N, count, D) readout → (N, h, w, W) float by name.

        present: the features now of all target features, ``<tower>.<camera>`` → (N, P + 1, W). Of several horizons:
        (N, K, h, w, W).
        """


@runtime_checkable
class ForecastsInputs(Protocol):
    """A world model whose forecast is what encoders read, so that a model of inverse dynamics can read it."""

    @property
    def forecast_keys(self) -> tuple[str, ...]:
        """``features.<tower>.<camera>`` and ``state`` that it forecasts, as :attr:`Encoder.inputs`."""

    def forecast_inputs(self, readout: Tensor, present: Inputs) -> dict[str, Tensor]:
        """(N, count, D) readout and inputs now, key → (N, ...) → those of now and of K horizons, key → (N, 1 + K, ...).

        With gradient, in the numbers that the loss compares; the state is normalized, in ``present`` too.
        """


@runtime_checkable
class InfersLatentActions(Protocol):
    """A world model with an inverse model of latent actions, learned from frames alone."""

    def infer_latent_actions(self, target: Inputs, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The latent action that led from each timestep to its future, (B, T, n), and which there are, (B, T) bool.

        target, valid: those of :meth:`WorldModel.loss`. Nothing is drawn at random in evaluation mode.
        """


class ActionHead(_Queries):
    """Owns query tokens and turns what they read into a chunk of ``chunk`` actions, all in normalized units."""

    chunk: int
    weights: Mapping[str, float]
    noise_shape: tuple[int, ...] = ()
    """Shape of the standard normal noise that one chunk is sampled from; empty for a deterministic head."""
    partial: bool = False
    """Whether it learns from actions of which some numbers are unknown: its loss heeds :func:`known_numbers` alone."""

    def _add_queries(self, count: int, dim: int) -> None:
        self._create_queries(ACTION, count, dim)

    @abstractmethod
    def forward(self, readout: Tensor) -> Tensor:
        """(..., count, D) readout → (..., chunk, A) actions, normalized."""

    @abstractmethod
    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """Scalar loss terms from (B, T, count, D) readout; what is drawn is drawn by torch's default generators.

        target: ``actions`` (B, T, chunk, A) normalized; for a :attr:`partial` head also ``actions_known`` of that shape,
        bool, where some of their numbers are unknown. valid: (B, T, chunk) bool, the actions that count.
        """


Read = Callable[[Tensor], Tensor]
"""Tokens of an action head, (N, count, D) → the backbone's output for them, over the rest of the sequence, likewise."""


class SamplingActionHead(ActionHead):
    """An action head whose chunks are samples of a distribution, given one readout and noise.

    Where its options make it deterministic, ``noise_shape`` is empty and the noise is not used.
    """

    @abstractmethod
    def sample(self, readout: Tensor, noise: Tensor) -> Tensor:
        """(..., count, D) readout and (..., ``*noise_shape``) noise → (..., chunk, A) actions, normalized."""

    def forward(self, readout: Tensor) -> Tensor:
        """The actions of zero noise."""
        return self.sample(readout, readout.new_zeros(*readout.shape[:-2], *self.noise_shape))


class IterativeActionHead(ActionHead):
    """An action head that makes its tokens itself, from noisy actions and a time, and reads several times for one chunk.

    As the action experts of π0 (Black et al. 2024) denoise: the context is computed once, and each pass runs the head's
    own tokens over its cache. Nothing else in the policy may read its tokens, nor they those of other timesteps.
    """

    @abstractmethod
    def training_tokens(self, target: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """The tokens (B, T, count, D) of one training pass; and what :meth:`loss` needs to know of it, beside ``target``.

        target: as that of :meth:`loss`. What is returned beside the tokens is added to it; (B, T, ...) each.
        """

    @abstractmethod
    def sample(self, read: Read, noise: Tensor) -> Tensor:
        """Actions (N, chunk, A), normalized, from noise (N, ``*noise_shape``), asking ``read`` as often as need be."""

    def forward(self, readout: Tensor) -> Tensor:
        """Not defined for a single readout; use :meth:`sample`."""
        raise NotImplementedError(f"{type(self).__name__} reads several times for one chunk: call sample()")
