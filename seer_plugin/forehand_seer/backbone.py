"""A GPT-2 style transformer whose only notion of order is the timestep, and of causality the mask it is given."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.parts import Backbone
from forehand.errors import ConfigurationError


class InputMajorLinear(nn.Module):
    """A linear map whose weight is stored (in, out), as in GPT-2's checkpoints."""

    def __init__(self, inputs: int, outputs: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * std)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out)."""
        return F.linear(x, self.weight.t(), self.bias)


class Attention(nn.Module):
    """Multi-head self-attention under a mask."""

    def __init__(self, dim: int, heads: int, dropout: float, std: float, residual_std: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn = InputMajorLinear(dim, 3 * dim, std)
        self.c_proj = InputMajorLinear(dim, dim, residual_std)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D), and a mask that broadcasts to (B, heads, L, L) → (B, L, D)."""
        q, k, v = self.c_attn(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.c_proj(read.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear maps with GELU (its tanh approximation, GPT-2's "gelu_new") between them."""

    def __init__(self, dim: int, std: float, residual_std: float) -> None:
        super().__init__()
        self.c_fc = InputMajorLinear(dim, 4 * dim, std)
        self.c_proj = InputMajorLinear(4 * dim, dim, residual_std)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """Attention and feed-forward, each behind a LayerNorm and beside a residual."""

    def __init__(self, dim: int, heads: int, dropout: float, std: float, residual_std: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, dropout, std, residual_std)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, std, residual_std)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) → (B, L, D)."""
        x = x + self.dropout(self.attn(self.ln_1(x), mask))
        return x + self.dropout(self.mlp(self.ln_2(x)))


class TimestepTransformer(Backbone):
    """Seer's backbone: every token gets its timestep's embedding, a LayerNorm, and then GPT-2 blocks under the mask.

    history: T, how many timesteps there are embeddings for. dropout: of embeddings, attention and residuals. std:
    of the weights at the start, and less by √(2·layers) where a residual is fed (Radford et al. 2019). GPT-2's 0.02 suits
    widths near 768; a narrow backbone learns much faster with about 1/√D.
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
        std: float = 0.02,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigurationError(
                f"seer/backbone: dim {dim} cannot be shared by {heads} heads; choose a divisor of it."
            )
        residual_std = std / math.sqrt(2 * layers)
        self.timestep_embedding = nn.Parameter(torch.randn(1, history, 1, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(dim, heads, dropout, std, residual_std) for _ in range(layers))
        self.ln_f = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask → (B, L, D)."""
        x = self.dropout(self.norm(tokens + self.timestep_embedding[0, timesteps, 0]))
        by_head = mask[:, None] if mask.ndim == 3 else mask
        for block in self.h:
            x = block(x, by_head)
        return self.ln_f(x)
