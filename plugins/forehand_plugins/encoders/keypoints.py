"""Keypoint encoder: cameras as learned spatial keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forehand.compose.parts import IMAGES, INSTRUCTION, Encoder, Inputs, require_cameras
from forehand.compose.tokens import TokenGroup
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand_plugins.encoders.ngrams import NgramEncoder
from forehand_plugins.encoders.spatial_softmax import SpatialSoftmax
from forehand_plugins.pixel_range import signed


def _trunk(width: int) -> nn.Sequential:
    """(N, 3, H, W) → (N, width, H/4, W/4)."""
    return nn.Sequential(
        nn.Conv2d(3, width, 6, stride=4, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class Keypoints(Encoder):
    """``tokens`` tokens for each camera: a small convolutional network of its own, spatial softmax, and one linear map.

    Trained from scratch. cameras: which; keypoints: how many for each camera; width: channels of the network.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        cameras: Sequence[str],
        tokens: int = 4,
        keypoints: int = 32,
        width: int = 32,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "keypoints")
        self.cameras, self.tokens = tuple(cameras), tokens
        self.inputs: tuple[str, ...] = tuple(IMAGES + c for c in cameras)
        self.groups = tuple(TokenGroup(c, tokens, ("images",)) for c in cameras)
        self.trunks = nn.ModuleDict({c: _trunk(width) for c in cameras})
        self.score = nn.ModuleDict({c: nn.Conv2d(width, keypoints, 1) for c in cameras})
        self.locate = nn.ModuleDict({c: SpatialSoftmax(keypoints) for c in cameras})
        self.project = nn.ModuleDict({c: nn.Linear(3 * keypoints, tokens * dim) for c in cameras})

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``images.<camera>`` (N, H, W, 3) → ``<camera>`` (N, tokens, D)."""
        return {camera: self.tokens_of(camera, self.scores(camera, inputs)) for camera in self.cameras}

    def scores(self, camera: str, inputs: Inputs) -> Tensor:
        """Scores of each keypoint's positions in ``camera``, (N, keypoints, h, w)."""
        scores: Tensor = self.score[camera](self.features(camera, inputs))
        return scores

    def features(self, camera: str, inputs: Inputs) -> Tensor:
        """(N, width, h, w) features of one camera's images."""
        features: Tensor = self.trunks[camera](signed(inputs[IMAGES + camera]))
        return features

    def tokens_of(self, camera: str, scores: Tensor) -> Tensor:
        """(N, keypoints, h, w) scores → (N, tokens, D)."""
        points = self.locate[camera](scores).flatten(1)
        tokens: Tensor = self.project[camera](points).unflatten(-1, (self.tokens, -1))
        return tokens


class LanguageKeypoints(Keypoints):
    """Keypoints, some of which have filters computed from the instruction's n-grams.

    asked: how many of ``keypoints`` have such filters; buckets: size of the hash table of n-grams.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        cameras: Sequence[str],
        tokens: int = 4,
        keypoints: int = 32,
        asked: int = 8,
        width: int = 32,
        buckets: int = 1024,
    ) -> None:
        super().__init__(
            contract=contract,
            dim=dim,
            image_size=image_size,
            cameras=cameras,
            tokens=tokens,
            keypoints=keypoints,
            width=width,
        )
        if not 0 < asked < keypoints:
            raise ConfigurationError(
                f"language_keypoints: asked must be between 0 and keypoints ({keypoints}), not {asked}."
            )
        self.inputs = (*self.inputs, INSTRUCTION)
        self.sentences = NgramEncoder(2 * width, buckets)
        self.filters = nn.ModuleDict({c: nn.Linear(2 * width, asked * width) for c in cameras})
        self.score = nn.ModuleDict({c: nn.Conv2d(width, keypoints - asked, 1) for c in cameras})

    def scores(self, camera: str, inputs: Inputs) -> Tensor:
        """The free keypoints first, then those of the instruction, (N, keypoints, h, w)."""
        features = self.features(camera, inputs)
        filters = self.filters[camera](self.sentences(inputs[INSTRUCTION])).unflatten(-1, (-1, features.shape[1]))
        asked = torch.einsum("nkc,nchw->nkhw", filters, features)
        return torch.cat([self.score[camera](features), asked], dim=1)
