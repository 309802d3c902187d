"""Perceiver resampler encoder: a vision tower's patches as a few latent tokens per camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.making import make_part
from forehand.compose.parts import FEATURES, IMAGES, Encoder, FeatureShape, Inputs, VisionTower, require_cameras
from forehand.compose.tokens import TokenGroup
from forehand.compose.towers import FeatureShapes
from forehand.errors import ConfigurationError


class LatentAttention(nn.Module):
    """Latents read the patches and each other."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, heads * head_dim, bias=False)
        self.to_kv = nn.Linear(width, 2 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, width, bias=False)

    def forward(self, latents: Tensor, patches: Tensor) -> Tensor:
        """(N, Q, W) latents, (N, P, W) patches of mean 0 and variance 1 → (N, Q, W)."""
        latents = self.norm_latents(latents)
        # What is left of norm_media is linear too, and frozen patches need no gradient: one product in place of two.
        scale, shift = self.norm_media.weight, self.norm_media.bias
        media = F.linear(patches, self.to_kv.weight * scale, self.to_kv.weight @ shift)
        q = self.to_q(latents).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        read = torch.cat([media, self.to_kv(latents)], dim=1)
        k, v = read.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class PerceiverResampler(nn.Module):
    """``queries`` latents that gather any number of patches (Alayrac et al. 2022, Flamingo)."""

    def __init__(self, width: int, queries: int, layers: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(queries, width))
        self.attention = nn.ModuleList(LatentAttention(width, heads, head_dim) for _ in range(layers))
        self.feed_forward = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width, bias=False),
                nn.GELU(),
                nn.Linear(4 * width, width, bias=False),
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, patches: Tensor) -> Tensor:
        """(N, P, W) → (N, Q, W)."""
        latents = self.latents.expand(len(patches), -1, -1)
        patches = F.layer_norm(patches, patches.shape[-1:])  # in every layer's norm_media, so only once
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            latents = latents + attention(latents, patches)
            latents = latents + feed_forward(latents)
        return self.norm(latents)


class Resampler(Encoder):
    """Each camera as ``queries`` resampled tokens and one token of the whole image.

    One tower and one resampler serve all cameras; each has its own linear maps to D. Groups: ``<camera>`` for every
    camera, then ``class_<camera>`` for every camera; the tag ``images`` means them all. tower: a registered vision tower
    (``{name: seer/mae_vit, options}``), or the name of one of the policy's ``towers``, whose features it then reads.
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
        queries: int = 6,
        layers: int = 3,
        heads: int = 8,
        head_dim: int = 64,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "seer/resampler")
        if not isinstance(tower, str) and "name" not in tower:
            raise ConfigurationError(
                "seer/resampler: its tower has no name; use for example tower: {name: seer/mae_vit}."
            )
        self.cameras = tuple(cameras)
        read = f"{FEATURES}{tower}." if isinstance(tower, str) else IMAGES
        self.inputs = tuple(read + c for c in cameras)
        self.groups = (
            *(TokenGroup(c, queries, ("images",)) for c in cameras),
            *(TokenGroup(f"class_{c}", 1, ("images",)) for c in cameras),
        )
        self.tower: VisionTower | None = None
        if isinstance(tower, str):
            width = FeatureShapes(towers or {})[tower].width
        else:
            self.tower = make_part("vision_tower", tower, {"image_size": image_size})
            width = self.tower.width
        self.resample = PerceiverResampler(width, queries, layers, heads, head_dim)
        self.project = nn.ModuleDict({c: nn.Linear(width, dim) for c in cameras})
        self.project_class = nn.ModuleDict({c: nn.Linear(width, dim) for c in cameras})

    def group_inputs(self, group: str) -> tuple[str, ...]:
        """See :meth:`forehand.compose.parts.Encoder.group_inputs`."""
        return (self.inputs[self.cameras.index(group.removeprefix("class_"))],)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``images.<camera>`` (N, H, W, 3) or features → ``<camera>`` (N, queries, D), ``class_<camera>`` (N, 1, D)."""
        seen = torch.cat([inputs[key] for key in self.inputs])
        patches, whole = self.tower(seen) if self.tower is not None else (seen[:, :-1], seen[:, -1])
        latents = self.resample(patches).chunk(len(self.cameras))
        classes = whole[:, None].chunk(len(self.cameras))
        out = {c: self.project[c](x) for c, x in zip(self.cameras, latents, strict=True)}
        return out | {f"class_{c}": self.project_class[c](x) for c, x in zip(self.cameras, classes, strict=True)}
