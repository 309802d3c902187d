"""Frozen vision transformer, pre-trained as a masked autoencoder (He et al. 2022)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from forehand.compose.parts import Pretrained, VisionTower
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.weights import state_dict_mismatch
from forehand_seer.targets import clip_normalize
from forehand_seer.torch_files import read_weights
from forehand_seer.vision_transformer import TransformerBlock

CACHED = 4  # images: so many at a time keep what passes between layers in a CPU's cache


class PatchEmbedding(nn.Module):
    """One linear map for every patch."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) → (N, P, W), row by row."""
        return self.proj(images.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)


class MaskedAutoencoderViT(VisionTower, Pretrained):
    """The encoder of a masked autoencoder, seeing every patch; it takes no gradients.

    Images are normalized with CLIP's mean and standard deviation, as Seer was trained. The defaults are ViT-B/16.
    weights: MAE's file (``.pth`` with the key ``model``, or ``.safetensors``, same names); its decoder is ignored.
    precision: ``bfloat16`` computes in that format, as Seer was trained on GPUs; ``float32`` is exact.
    """

    def __init__(
        self,
        *,
        image_size: int,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        patch: int = 16,
        weights: str | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise ConfigurationError(f"seer/mae_vit: images of {image_size} pixels are no whole number of {patch}.")
        if precision not in ("float32", "bfloat16"):
            raise ConfigurationError(f"seer/mae_vit: precision must be float32 or bfloat16, not {precision!r}.")
        self.width, self.patches = width, (image_size // patch) ** 2
        self.weights, self.precision = weights, precision
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + self.patches, width) * 0.02)
        self.patch_embed = PatchEmbedding(patch, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, eps=1e-6) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) → patches (N, P, width) and the class token (N, width), both after the final norm."""
        in_turn = images.device.type == "cpu" and not torch.compiler.is_compiling()
        together = CACHED if in_turn else len(images)
        x = torch.cat([self._encode(some) for some in images.split(together)])
        return x[:, 1:], x[:, 0]

    def _encode(self, images: Tensor) -> Tensor:
        if self.precision == "bfloat16":
            with torch.autocast(images.device.type, torch.bfloat16):
                return self._run(images).float()
        return self._run(images)

    def _run(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(clip_normalize(images))
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        encoded: Tensor = self.norm(x)
        return encoded

    def load_pretrained(self) -> None:
        """Read ``weights``. Raises :class:`CheckpointError` where they are missing or do not fit."""
        if self.weights is None:
            raise CheckpointError(
                "seer/mae_vit is not trained here, and its configuration names no weights: give tower.weights=<path> of "
                "MAE's ViT (for the defaults mae_pretrain_vit_base.pth)."
            )
        found = read_mae(Path(self.weights).expanduser())
        if listing := state_dict_mismatch(found, self.state_dict()):
            raise CheckpointError(f"{self.weights} does not fit this seer/mae_vit:\n{listing}")
        self.load_state_dict(found)


def read_mae(path: Path) -> dict[str, Tensor]:
    """The encoder's weights from MAE's file; its decoder, if it is there, is left out."""
    found = read_weights(path, under="" if path.suffix == ".safetensors" else "model.")
    return {name: tensor for name, tensor in found.items() if not name.startswith(("decoder_", "mask_token"))}
