"""CLIP ViT-B/32's text tower, frozen, from OpenAI's file or the hub's."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.parts import Pretrained
from forehand.errors import CheckpointError
from forehand.learning.weights import state_dict_mismatch
from forehand_seer.torch_files import read_weights

FEATURES = 512  # of CLIP ViT-B/32's joint space
VOCABULARY, LENGTH = 49408, 77  # tokens there are, and tokens of a sentence
FILES = ("model.safetensors", "pytorch_model.bin")

_KEPT = 10_000  # features; 20 MB


@functools.cache
def tokenizer() -> Any:
    """CLIP's tokenizer with its vocabulary: sentences → (N, 77) token numbers. It is OpenCLIP's.

    Its module is loaded alone, since importing all of OpenCLIP takes longer than loading a policy.
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'open_clip'", name="open_clip")
    file = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


class QuickGELU(nn.Module):
    """The GELU that CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


class CausalAttention(nn.Module):
    """Multi-head self-attention to earlier tokens and oneself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, W) → (N, L, W)."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = CausalAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        feed_forward = (
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", QuickGELU()),
            ("c_proj", nn.Linear(4 * width, width)),
        )
        self.mlp = nn.Sequential(OrderedDict(feed_forward))

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, W) → (N, L, W)."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class TextTransformer(nn.Module):
    """Tokens → the feature of the sentence, read where it ends. Its weights are named as OpenAI names them."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, width) * 0.01)
        blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(layers)))
        self.transformer = nn.Sequential(OrderedDict(resblocks=blocks))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, FEATURES) * width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, 77) → (N, 512)."""
        x = self.transformer(self.token_embedding(tokens) + self.positional_embedding)
        end = tokens.argmax(dim=-1)  # the token that ends a sentence has the highest number
        return self.ln_final(x[torch.arange(len(x), device=x.device), end]) @ self.text_projection


class CLIPTextTower(nn.Module, Pretrained):
    """Sentences → features (projected, not normalized; Radford et al. 2021); it takes no gradients.

    Each distinct sentence is read once, and its feature kept. weights:
    OpenAI's ``ViT-B-32.pt``, or ``openai/clip-vit-base-patch32`` of the hub: its folder, or its file of weights. width,
    layers, heads: the defaults are ViT-B/32's.
    """

    def __init__(self, *, weights: str | None = None, width: int = 512, layers: int = 12, heads: int = 8) -> None:
        super().__init__()
        self.weights = weights
        self.text = TextTransformer(width, layers, heads)
        self.requires_grad_(False)
        self._features: dict[str, Tensor] = {}
        self.register_load_state_dict_post_hook(_forget)

    @torch.inference_mode(False)  # a feature computed for a session may be used in training later
    @torch.no_grad()
    def forward(self, sentences: Sequence[str]) -> Tensor:
        """N sentences → (N, 512). What goes beyond 77 tokens is not read."""
        device = self.text.positional_embedding.device
        unread = [s for s in dict.fromkeys(sentences) if s not in self._features]
        if unread:
            if len(self._features) + len(unread) > _KEPT:
                self._features.clear()
                unread = list(dict.fromkeys(sentences))
            with torch.autocast(device.type, enabled=False):
                self._features |= zip(unread, self.text(tokenizer()(unread).to(device)), strict=True)
        return torch.stack([self._features[s].to(device) for s in sentences])

    def load_pretrained(self) -> None:
        """Read ``weights``. Raises :class:`CheckpointError` where they are missing or do not fit."""
        if self.weights is None:
            raise CheckpointError(
                "CLIP's text tower is not trained here, and the configuration names no weights: give "
                "encoders.text.tower.weights=<path> of OpenAI's ViT-B-32.pt or of the hub's openai/clip-vit-base-patch32."
            )
        self.fill(read_clip_text(Path(self.weights)), self.weights)

    def fill(self, found: Mapping[str, Tensor], source: object) -> None:
        """Take weights that :func:`read_clip_text` found at ``source``."""
        if listing := state_dict_mismatch(found, self.text.state_dict()):
            raise CheckpointError(f"{source} does not fit CLIP ViT-B/32's text tower:\n{listing}")
        self.text.load_state_dict(found)
        self._features.clear()


def _forget(tower: Any, incompatible: Any) -> None:
    tower._features.clear()


# ---- files ------------------------------------------------------------------------------------------------------------


def read_clip_text(path: Path) -> dict[str, Tensor]:
    """The text tower's weights by OpenAI's names, in float32, from OpenAI's file or the hub's file or folder."""
    path = path.expanduser()
    if path.is_dir():
        there = [path / name for name in FILES if (path / name).is_file()]
        if not there:
            raise CheckpointError(f"{path} holds neither {' nor '.join(FILES)}; copy CLIP's files there.")
        path = there[0]
    found = read_weights(path)
    if any(name.startswith("text_model.") for name in found):
        found = _from_hub(found)
    return {name: tensor.float() for name, tensor in found.items() if _OURS.match(name)}


_OURS = re.compile(r"(token_embedding|positional_embedding|transformer\.resblocks\.|ln_final|text_projection)")

_HUB = (
    (r"embeddings\.token_embedding\.", "token_embedding."),
    (r"embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"final_layer_norm\.", "ln_final."),
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.", r"transformer.resblocks.\1.ln_\2."),
    (r"encoder\.layers\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"encoder\.layers\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"transformer.resblocks.\1.attn.out_proj."),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.", r"transformer.resblocks.\1.attn.\2."),
)


def _from_hub(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the hub's names → by OpenAI's: query, key and value in one matrix, the projection transposed."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.items():
        if name == "text_projection.weight":
            renamed["text_projection"] = tensor.t().contiguous()
        for pattern, ours in _HUB:
            new, count = re.subn(r"^text_model\." + pattern, ours, name)
            if count:
                renamed[new] = tensor
    for name in [name for name in renamed if re.search(r"\.attn\.q\.", name)]:
        block, kind = name.split(".attn.q.")
        thirds = [renamed.pop(f"{block}.attn.{part}.{kind}", None) for part in "qkv"]
        if all(third is not None for third in thirds):
            renamed[f"{block}.attn.in_proj_{kind}"] = torch.cat([t for t in thirds if t is not None])
    return renamed
