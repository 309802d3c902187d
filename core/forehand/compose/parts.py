"""The parts a policy is composed of. Needs torch.

Factories of all four kinds are called as ``factory(contract=Contract, dim=int, image_size=int, **options)`` (a backbone's
also with ``history=int``): ``dim`` is D, the width of every token; ``image_size`` the height and width of the images the
policy sees. B is the batch, T the number of timesteps, N a number of frames (B·T in training, one for each session at run
time).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from forehand.compose.tokens import ACTION, FORESIGHT, TokenGroup
from forehand.contract import Contract
from forehand.errors import ConfigurationError
from forehand.registry import nearest

IMAGES = "images."
FUTURE = "future."
PRESENT = "present."
STATE = "state"
INSTRUCTION = "instruction"

Inputs = Mapping[str, Any]
Terms = dict[str, Tensor]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` (broadcast from the left) is True; 0 where it never is. In float32 at least."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    weight = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)).expand_as(values).to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def require_cameras(contract: Contract, cameras: Iterable[str], part: str) -> None:
    """Raise :class:`ConfigurationError` if ``part`` was asked to look through a camera that the contract lacks."""
    known = [camera.name for camera in contract.cameras]
    for camera in cameras:
        if camera not in known:
            raise ConfigurationError(f"{part}: no camera {camera!r} in the data's contract. {nearest(camera, known)}")


class Encoder(nn.Module, ABC):
    """Turns one modality of one timestep into one or more token groups.

    ``inputs`` names what it reads of an observation: ``images.<camera>`` (N, H, W, 3) uint8, or float where already
    normalised; ``state`` (N, S) float; ``instruction``, N strings or (N, F) features computed beforehand. An encoder that
    reads only the instruction is run once an instruction; any other once a frame.
    """

    inputs: tuple[str, ...]
    groups: tuple[TokenGroup, ...]

    @abstractmethod
    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Group name → tokens (N, count, D)."""


class VisionTower(nn.Module, ABC):
    """Turns images into features, for camera encoders to stand on; made by ``factory(image_size=int, **options)``.

    ``width`` is W, that of every feature; ``patches`` is P, the patches of one image.
    """

    width: int
    patches: int

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8, or float where already normalised → patches (N, P, W) and the whole (N, W)."""


class Pretrained(ABC):
    """What any part (or a module inside one) is too whose weights come from a file that its configuration names."""

    @abstractmethod
    def load_pretrained(self) -> None:
        """Fill the weights from the file; called once before training, never for a checkpoint, which holds them."""


class Backbone(nn.Module, ABC):
    """Runs all tokens of all timesteps under one mask, and adds what tells timesteps apart."""

    def cut_history(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The ``weights`` of such a backbone with a history that may be longer, cut to this one's; by name, as stored."""
        return dict(weights)

    @abstractmethod
    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask (True: row reads column) → (B, L, D)."""


class StreamingBackbone(Backbone):
    """A backbone whose tokens leave behind all that others read of them, so that only new tokens need be computed.

    Sessions make use of it while their window grows. ``memory`` is M, how many numbers a token leaves behind (keys and
    values of every layer, say).
    """

    memory: int

    @abstractmethod
    def extend(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, answering: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What ``answering`` tokens say behind earlier ones; the same as if all had been run at once.

        tokens: (B, N, D), the new ones; timesteps: (N,) or (B, N); mask: (N, P + N) or (B, N, P + N) bool, what each
        reads of the earlier tokens and of the new. answering: (A,), which of the new tokens are asked. past: (B, P, M),
        what the earlier tokens have left behind; rows that nobody reads may hold any finite numbers. Without a past, P is
        0 and nothing is left behind.

        Returns the output of those asked, (B, A, D), and what the new tokens leave behind, (B, N, M), if there is a past.
        """


class _Queries(nn.Module, ABC):
    """A part that owns ``count`` learned query tokens of one group."""

    group: TokenGroup

    def _own_queries(self, name: str, count: int, dim: int, std: float = 0.02) -> None:
        self.group = TokenGroup(name, count)
        self.queries = nn.Parameter(torch.randn(count, dim) * std)


class WorldModel(_Queries):
    """Owns query tokens and turns what they read into a forecast ``horizon`` control steps ahead.

    ``cameras`` are the cameras it forecasts; ``weights`` the weight of each of its loss terms in the policy's loss.
    """

    horizon: int
    cameras: tuple[str, ...]
    weights: Mapping[str, float]

    def _own(self, count: int, dim: int) -> None:
        self._own_queries(FORESIGHT, count, dim)

    @abstractmethod
    def forward(self, readout: Tensor) -> Tensor:
        """(..., count, D) readout → the raw forecast, in whatever space the loss compares it."""

    @abstractmethod
    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> Terms:
        """Scalar loss terms from (B, T, count, D) readout.

        target: ``future.<camera>`` and ``present.<camera>`` (B, T, H, W, 3), the images ``horizon`` steps ahead and those
        of each timestep itself, uint8 or already normalised; valid: (B, T) bool, the timesteps that count.
        """

    @abstractmethod
    def pictures(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each camera is expected to see: (N, count, D) readout and the images now → (N, H, W, 3) uint8."""


class ActionHead(_Queries):
    """Owns query tokens and turns what they read into a chunk of ``chunk`` actions, all in normalised units."""

    chunk: int
    weights: Mapping[str, float]

    def _own(self, count: int, dim: int) -> None:
        self._own_queries(ACTION, count, dim)

    @abstractmethod
    def forward(self, readout: Tensor) -> Tensor:
        """(..., count, D) readout → (..., chunk, A) actions, normalised."""

    @abstractmethod
    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> Terms:
        """Scalar loss terms from (B, T, count, D) readout.

        target: ``actions`` (B, T, chunk, A) normalised; valid: (B, T, chunk) bool, the actions that count.
        """
