"""Camera encoder on a vision tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.making import make_part
from forehand.compose.parts import (
    FEATURES,
    IMAGES,
    INSTRUCTION,
    Encoder,
    FeatureShape,
    Inputs,
    Pretrained,
    VisionTower,
    require_cameras,
)
from forehand.compose.tokens import TokenGroup
from forehand.errors import ConfigurationError, nearest
from forehand_plugins.encoders.convolutions import Convolutions
from forehand_plugins.encoders.film import FiLM, SentenceFeature
from forehand_plugins.encoders.token_pooling import make_pooling

Film = bool | Mapping[str, Any]
SHARED = "shared"


class Vision(Encoder, Pretrained):
    """Tokens of each camera from a vision tower's features, which the instruction may modulate (FiLM).

    cameras: which. tower: a registered vision tower (``{name: timm, model: resnet18, …}``), or the name of one of the
    policy's ``towers``, whose features it then reads. shared: one tower for all cameras, or one for each. tokens:
    ``pooled`` (one token), ``grid`` (one for each patch), ``spatial_softmax`` or ``attention_pooled`` (``count`` tokens,
    by default 4). keypoints: of the spatial softmax. heads: of the attention pooling. film: True for n-grams of the
    instruction, or a text encoder (``{name: …}``). layer_norm: features are layer-normed without parameters first, as
    those are that a world model forecasts. convolutions: so many 3 × 3 convolutions of ``width`` channels follow, by
    default none, each with a ``norm``, ``group`` or ``batch``. Each camera has its own ones, modulation and pooling.

    Raises :class:`ConfigurationError` for a camera, a tower or tokens that there are not.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        cameras: Sequence[str],
        tower: str | Mapping[str, Any],
        towers: Mapping[str, FeatureShape] | None = None,
        shared: bool = True,
        tokens: str = "pooled",
        count: int | None = None,
        keypoints: int = 32,
        heads: int = 4,
        film: Film = False,
        layer_norm: bool = False,
        convolutions: int = 0,
        width: int = 64,
        norm: str = "group",
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "vision")
        if not cameras:
            raise ConfigurationError("vision: it has no cameras; name one of the contract's, or leave the encoder out.")
        self.cameras, self.shared, self.layer_norm = tuple(cameras), shared, layer_norm
        self.towers, self.of_policy = nn.ModuleDict(), tower if isinstance(tower, str) else None
        if isinstance(tower, str):
            shape = _shape(tower, towers or {}, shared)
        else:
            self.towers.update({key: _make(tower, image_size) for key in ((SHARED,) if shared else cameras)})
            made = self._tower(cameras[0])
            shape = FeatureShape(made.grid, made.width)
        self.convolutions = nn.ModuleDict()
        if convolutions:
            self.convolutions.update({c: Convolutions(shape, width, convolutions, norm) for c in cameras})
            shape = FeatureShape(shape.grid, width)
        pooling = {c: make_pooling(tokens, shape, dim, count=count, keypoints=keypoints, heads=heads) for c in cameras}
        self.pooling = nn.ModuleDict(pooling)
        self.groups = tuple(TokenGroup(c, pooling[c].count, ("images",)) for c in cameras)
        self.inputs: tuple[str, ...] = tuple(self._key(c) for c in cameras)
        self.sentence, self.film = None, nn.ModuleDict()
        if film:
            text = film if isinstance(film, Mapping) else {"name": "ngram_text"}
            self.sentence = SentenceFeature(text, contract=contract, dim=dim, image_size=image_size)
            self.film.update({c: FiLM(dim, shape.width) for c in cameras})
            if isinstance(self.sentence.text, Pretrained) and self.sentence.text.resolved_options:
                self.resolved_options = {"film": {**text, **self.sentence.text.resolved_options}}
            self.inputs = (*self.inputs, INSTRUCTION)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``images.<camera>`` (N, H, W, 3), or features of the policy's tower, → ``<camera>`` (N, count, D)."""
        text = None if self.sentence is None else self.sentence(inputs[INSTRUCTION])
        tokens = {}
        for camera, (patches, whole) in self._features(inputs).items():
            if self.layer_norm:
                patches, whole = (F.layer_norm(features, features.shape[-1:]) for features in (patches, whole))
            if self.convolutions:
                patches, whole = self.convolutions[camera](patches)
            if text is not None:
                patches, whole = self.film[camera](patches, whole, text)
            tokens[camera] = self.pooling[camera](patches, whole)
        return tokens

    def load_pretrained(self) -> None:
        """Nothing: the parts inside, which are found as this one is, read their weights themselves."""

    def _key(self, camera: str) -> str:
        """What is read of a camera: its images, or a shared tower's features of them."""
        return f"{IMAGES}{camera}" if self.of_policy is None else f"{FEATURES}{self.of_policy}.{camera}"

    def _tower(self, camera: str) -> VisionTower:
        tower: VisionTower = self.towers[SHARED if self.shared else camera]  # type: ignore[assignment]
        return tower

    def _features(self, inputs: Inputs) -> dict[str, tuple[Tensor, Tensor]]:
        """Camera → patches (N, P, W) and the whole (N, W); a tower for all cameras runs once."""
        read = [inputs[self._key(camera)] for camera in self.cameras]
        if self.of_policy is not None:
            return {c: (features[:, :-1], features[:, -1]) for c, features in zip(self.cameras, read, strict=True)}
        if not self.shared:
            return {c: self._tower(c)(images) for c, images in zip(self.cameras, read, strict=True)}
        patches, whole = self._tower(self.cameras[0])(torch.cat(read))
        several = zip(patches.chunk(len(read)), whole.chunk(len(read)), strict=True)
        return dict(zip(self.cameras, several, strict=True))


def _shape(name: str, towers: Mapping[str, FeatureShape], shared: bool) -> FeatureShape:
    if name not in towers:
        raise ConfigurationError(
            f"vision: the policy has no tower {name!r}. {nearest(name, towers)} Name one of policy.towers, or give the "
            f"encoder one of its own, tower: {{name: timm, model: …}}."
        )
    if not shared:
        raise ConfigurationError(f"vision: the policy's tower {name!r} is shared by its cameras; leave shared out.")
    return towers[name]


def _make(tower: Mapping[str, Any], image_size: int) -> VisionTower:
    if "name" not in tower:
        raise ConfigurationError("vision: its tower has no name; use for example tower: {name: timm, model: resnet18}.")
    made: VisionTower = make_part("vision_tower", tower, {"image_size": image_size})
    return made
