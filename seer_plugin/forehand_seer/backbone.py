"""GPT-2 style transformer backbone with timestep embeddings and an explicit attention mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from forehand import Contract
from forehand.compose.dropout import Dropout, is_unfused, scaled_dot_product_attention
from forehand.compose.parts import StreamingBackbone
from forehand.errors import ConfigurationError
from forehand.utils.numbers import count, ratio

ALL = slice(None)

Bands = Sequence[Tensor]
"""Masks, for some readers after others: (A, L) or (1 or B, 1, A, L) each, bool or what is added to the scores; who stands
behind the first L is read by none of these A."""


class InputMajorLinear(nn.Module):
    """A linear map whose weight is stored (in, out), as in GPT-2's checkpoints."""

    def __init__(self, inputs: int, outputs: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * std)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, outputs: slice = ALL) -> Tensor:
        """(..., in) → (..., out), or only some of the outputs."""
        return F.linear(x, self.weight[:, outputs].t(), self.bias[outputs])


class Attention(nn.Module):
    """Multi-head self-attention under a mask."""

    def __init__(self, dim: int, heads: int, dropout: float, std: float, residual_std: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn = InputMajorLinear(dim, 3 * dim, std)
        self.c_proj = InputMajorLinear(dim, dim, residual_std)

    def forward(self, x: Tensor, mask: Bands, readers: Tensor | None, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, D) and a mask of A readers and P + N columns → what they read, (B, A, D).

        readers: (A,), who reads among the N; None for all. past: (B, P, 2D), keys and values of earlier tokens. Also
        returns those of the N, (B, N, 2D).
        """
        dim = x.shape[-1]
        if readers is None:
            query, left = self.c_attn(x).split([dim, 2 * dim], dim=-1)
        else:
            query, left = self.c_attn(x[:, readers], slice(dim)), self.c_attn(x, slice(dim, None))
        both = left if past is None else torch.cat([past, left], dim=1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, *both.chunk(2, dim=-1)))
        dropout = self.dropout if self.training else 0.0
        read = []
        for some, band in zip(q.split([band.shape[-2] for band in mask], dim=2), mask, strict=True):
            seen = slice(band.shape[-1])
            out = scaled_dot_product_attention(some, k[:, :, seen], v[:, :, seen], band, dropout)
            read.append(out.transpose(1, 2))
        return self.c_proj(torch.cat(read, dim=1).flatten(2)), left


class FeedForward(nn.Module):
    """Two linear maps with GELU (its tanh approximation, GPT-2's "gelu_new") between them."""

    def __init__(self, dim: int, std: float, residual_std: float) -> None:
        super().__init__()
        self.c_fc = InputMajorLinear(dim, 4 * dim, std)
        self.c_proj = InputMajorLinear(4 * dim, dim, residual_std)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each behind a LayerNorm and beside a residual."""

    def __init__(self, dim: int, heads: int, dropout: float, std: float, residual_std: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, dropout, std, residual_std)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, std, residual_std)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Bands, readers: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, N, D) → (B, A, D), and keys and values (B, N, 2D); see :class:`Attention`."""
        read, left = self.attn(self.ln_1(x), mask, readers, past)
        x = (x if readers is None else x[:, readers]) + self.dropout(read)
        return x + self.dropout(self.mlp(self.ln_2(x))), left


class TimestepTransformer(StreamingBackbone):
    """Seer's backbone: every token gets its timestep's embedding, a LayerNorm, and then GPT-2 blocks under the mask.

    history: T, how many timesteps there are embeddings for. dropout: of embeddings, attention and residuals. init_std:
    of the weights at the start, and less by √(2·layers) where a residual is fed (Radford et al. 2019). GPT-2's 0.02 suits
    widths near 768; a narrow backbone learns much faster with about 1/√D. checkpointing: keep only what goes into each
    layer for the backward pass and compute the rest again, for memory in exchange for a third more work.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        history: int,
        layers: int = 24,
        heads: int = 12,
        dropout: float = 0.1,
        init_std: float = 0.02,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        count(**{"seer/backbone: layers": layers, "seer/backbone: heads": heads})
        ratio(**{"seer/backbone: dropout": dropout})
        if dim % heads:
            raise ConfigurationError(
                f"seer/backbone: dim {dim} cannot be shared by {heads} heads; choose a divisor of it."
            )
        residual_std = init_std / math.sqrt(2 * layers)
        self.cache_width, self.checkpointing = layers * 2 * dim, checkpointing
        self.timestep_embedding = nn.Parameter(torch.randn(1, history, 1, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.h = nn.ModuleList(TransformerBlock(dim, heads, dropout, init_std, residual_std) for _ in range(layers))
        self.ln_f = nn.LayerNorm(dim)

    def truncate_history(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The embeddings of the first timesteps are kept, as Seer's fine-tuning does."""
        name, history = "timestep_embedding", self.timestep_embedding.shape[1]
        return {**weights, name: weights[name][:, :history]} if name in weights else dict(weights)

    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask → (B, L, D)."""
        x, back = self._embed(tokens, timesteps), None
        if not (self.training and is_unfused(tokens, self.dropout.p)):
            bands = [_bias(mask, tokens)]
        elif mask.ndim == 3:
            bands = [mask[:, None]]
        else:
            order, bands = bands_of(mask)
            x, back = x[:, order], order.argsort()
        for block in self.h:
            again = self.checkpointing and self.training
            x, _ = checkpoint(block, x, bands, use_reentrant=False) if again else block(x, bands)
        out: Tensor = self.ln_f(x)
        return out if back is None else out[:, back]

    def forward_cached(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, query_index: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`StreamingBackbone`; in the last layer only the tokens of ``query_index`` read."""
        x, bias = self._embed(tokens, timesteps), _bias(mask, tokens)
        if past is None:
            for block in self.h[:-1]:
                x, _ = block(x, [bias])
            return self.ln_f(self.h[-1](x, [bias[..., query_index, :]], query_index)[0]), None
        *earlier, before_last = past.chunk(len(self.h), dim=-1)
        left = []
        for block, before in zip(self.h[:-1], earlier, strict=True):
            x, leaves = block(x, [bias], past=before)
            left.append(leaves)
        x, leaves = self.h[-1](x, [bias[..., query_index, :]], query_index, before_last)
        return self.ln_f(x), torch.cat([*left, leaves], dim=-1)

    def _embed(self, tokens: Tensor, timesteps: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.norm(tokens + self.timestep_embedding[0, timesteps, 0]))
        return embedded


def bands_of(mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """An order of tokens in which much of an (L, L) bool ``mask`` is empty, and its one or two non-empty bands.

    Tokens that many others read come first, and readers of rarely read tokens come last, which leaves bands (A, K) and
    (L - A, K'), cut where their sum is smallest. In Seer, observations and foresight read observations alone; actions
    read more.
    """
    order = mask.sum(dim=0).argsort(descending=True, stable=True)
    mask = mask[order][:, order]
    rows = torch.arange(1, len(mask) + 1, device=mask.device)
    reach = (mask * rows).amax(dim=1)  # how many columns a row needs
    above, below = reach.cummax(dim=0).values, reach.flip(0).cummax(dim=0).values.flip(0)
    below = F.pad(below[1:], (0, 1))
    cut = int((rows * above + (len(mask) - rows) * below).argmin())
    bands = mask[: cut + 1, : above[cut]], mask[cut + 1 :, : below[cut]]
    return order, [band for band in bands if len(band)]


def _bias(mask: Tensor, tokens: Tensor) -> Tensor:
    """Additive attention bias, computed once for all layers: (1 or B, 1, N, L), 0 where the bool mask allows."""
    kind = tokens.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tokens.dtype
    columns = mask.shape[-1]
    aligned = mask.new_zeros((*mask.shape[:-1], columns + -columns % 8), dtype=dtype)  # fused kernels want rows of 16 B
    bias = aligned[..., :columns].masked_fill_(~mask, -math.inf)
    return bias[None, None] if mask.ndim == 2 else bias[:, None]
