"""Convolutional depth encoder: depth images as spatial keypoints with their depths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forehand.compose.parts import SENSORS, Encoder, Inputs, require_sensor
from forehand.compose.tokens import TokenGroup
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import DEPTH
from forehand.errors import ConfigurationError
from forehand_plugins.encoders.keypoints import SpatialSoftmax

SMALLEST = 8  # pixels of a side


class DepthCNN(Encoder):
    """``tokens`` tokens for each depth sensor: a small convolutional network, spatial softmax, and one linear map.

    The network sees the logarithm of depth (Eigen et al. 2014, section 3.2), from -1 at ``near`` to 1 at ``far`` and
    clipped there, and a second channel that is 1 where something was measured. The tokens have the position of each
    keypoint (Levine et al. 2016, section 5.3), and the mean of all features, from which overall distances follow.

    sensors: names of depth sensors; near, far: metres; keypoints: how many for each sensor; width: channels.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        sensors: Sequence[str],
        near: float = 0.1,
        far: float = 4.0,
        tokens: int = 2,
        keypoints: int = 16,
        width: int = 32,
    ) -> None:
        super().__init__()
        if not 0 < near < far < math.inf:
            raise ConfigurationError(f"depth_cnn: near and far are metres with 0 < near < far, not {near} and {far}.")
        for name in sensors:
            if min(require_sensor(contract, name, DEPTH, "depth_cnn").full_shape) < SMALLEST:
                raise ConfigurationError(f"depth_cnn: {name!r} has fewer than {SMALLEST} × {SMALLEST} pixels.")
        self.sensors, self.near, self.far, self.tokens = tuple(sensors), near, far, tokens
        self.inputs = tuple(SENSORS + name for name in sensors)
        self.groups = tuple(TokenGroup(name, tokens, ("sensors",)) for name in sensors)
        self.trunks = nn.ModuleDict({name: _trunk(width) for name in sensors})
        self.score = nn.ModuleDict({name: nn.Conv2d(width, keypoints, 1) for name in sensors})
        self.locate = nn.ModuleDict({name: SpatialSoftmax(keypoints) for name in sensors})
        self.project = nn.ModuleDict({name: nn.Linear(3 * keypoints + width, tokens * dim) for name in sensors})

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``sensors.<name>`` (N, H, W) metres, 0 where nothing was measured → ``<name>`` (N, tokens, D)."""
        return {name: self._encode(name, inputs[SENSORS + name]) for name in self.sensors}

    def _encode(self, name: str, depth: Tensor) -> Tensor:
        features = self.trunks[name](self.channels(depth))
        points = self.locate[name](self.score[name](features)).flatten(1)
        tokens: Tensor = self.project[name](torch.cat([points, features.mean(dim=(2, 3))], dim=1))
        return tokens.unflatten(-1, (self.tokens, -1))

    def channels(self, depth: Tensor) -> Tensor:
        """(N, H, W) metres → (N, 2, H, W): scaled log depth, 0 where nothing was measured, and whether it was."""
        measured = depth > 0
        middle, half = math.log(self.near * self.far) / 2, math.log(self.far / self.near) / 2
        scaled = (depth.clamp(self.near, self.far).log() - middle) / half
        return torch.stack([torch.where(measured, scaled, 0.0), measured.to(scaled.dtype)], dim=1)


def _trunk(width: int) -> nn.Sequential:
    """(N, 2, H, W) → (N, width, H/4, W/4)."""
    return nn.Sequential(
        nn.Conv2d(2, width, 6, stride=4, padding=1),
        nn.GroupNorm(1, width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
    )
