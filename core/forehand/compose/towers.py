"""Vision towers that several parts of a policy share: run once a frame, for those who read or forecast features.

A composed policy's ``towers`` name them::

    towers: {dino: {name: timm, model: vit_small_patch14_dinov2}}

An encoder reads ``features.dino.<camera>``, a world model may have them as its target. Needs torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forehand.compose.making import make_part, require_module_names
from forehand.compose.parts import FEATURES, IMAGES, FeatureShape, VisionTower
from forehand.data.frozen_features import FrozenFeatures
from forehand.errors import ConfigurationError, nearest

IMAGES_AT_ONCE = 64
"""Images that a tower is run on together beforehand."""


class FeatureShapes(dict[str, FeatureShape]):
    """Shapes of features by tower; an unknown name raises :class:`ConfigurationError`."""

    def __missing__(self, name: str) -> FeatureShape:
        raise ConfigurationError(f"towers: this policy has none called {name!r}. {nearest(name, self)}")


class SharedTowers(nn.Module):
    """The towers of one policy by name; ``shapes`` are those of their features."""

    def __init__(self, configs: Mapping[str, Mapping[str, Any]], image_size: int) -> None:
        super().__init__()
        require_module_names("towers", configs)
        made: dict[str, VisionTower] = {
            name: make_part("vision_tower", config, {"image_size": image_size}) for name, config in configs.items()
        }
        self.towers: Mapping[str, VisionTower] = nn.ModuleDict(made)  # type: ignore[assignment]
        self.shapes = FeatureShapes({name: FeatureShape(tower.grid, tower.width) for name, tower in made.items()})

    def shapes_alone(self) -> SharedTowers:
        """The same shapes without the towers, for parts that read features which others have computed."""
        alone = SharedTowers({}, 0)
        alone.shapes = self.shapes
        return alone

    def camera(self, key: str) -> str:
        """The camera of ``features.<tower>.<camera>``; raises :class:`ConfigurationError` for an unknown tower."""
        tower, _, camera = key.removeprefix(FEATURES).partition(".")
        assert self.shapes[tower]
        return camera

    def features(self, keys: Iterable[str], images: Mapping[str, Any]) -> dict[str, Tensor]:
        """Those of ``keys`` that name features, from ``images.<camera>`` (N, H, W, 3) → (N, P + 1, W).

        What ``images`` holds under the key itself was computed beforehand.
        """
        wanted = sorted(key for key in keys if key.startswith(FEATURES))
        return {
            key: images[key].float() if key in images else self.of(key, images[IMAGES + self.camera(key)])
            for key in wanted
        }

    def of(self, key: str, images: Tensor) -> Tensor:
        """``features.<tower>.<camera>``, (..., P + 1, W): the patches of ``images`` (..., H, W, 3), then the whole."""
        tower = self.towers[key.removeprefix(FEATURES).partition(".")[0]]
        patches, whole = tower(images.flatten(0, -4))
        return torch.cat([patches, whole[:, None]], dim=1).unflatten(0, images.shape[:-3])

    def frozen(self, keys: Iterable[str]) -> dict[str, FrozenFeatures]:
        """Those of ``keys`` whose tower does not learn, so that every frame's features can be computed beforehand."""
        found = {}
        for key in sorted(set(keys)):
            name, _, camera = key.removeprefix(FEATURES).partition(".")
            tower, shape = self.towers[name], self.shapes[name]
            if not any(parameter.requires_grad for parameter in tower.parameters()):
                digest = _digest(tower)
                found[key] = FrozenFeatures(camera, (shape.patches + 1, shape.width), digest, partial(self._encode, key))
        return found

    @torch.no_grad()
    def _encode(self, key: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        tower = self.towers[key.removeprefix(FEATURES).partition(".")[0]]
        trained = tower.training
        device = next((t.device for t in chain(tower.parameters(), tower.buffers())), torch.device("cpu"))
        tower.eval()
        try:
            some = torch.from_numpy(np.ascontiguousarray(images)).split(IMAGES_AT_ONCE)
            return torch.cat([self.of(key, part.to(device)).float().cpu() for part in some]).numpy()
        finally:
            tower.train(trained)


def _digest(tower: VisionTower) -> str:
    """A name for what a tower computes: its class, what it was made with, and its weights."""
    digest = hashlib.blake2b(f"{type(tower).__qualname__}\0{tower}".encode(), digest_size=16)
    for name, value in tower.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
