"""CVAE action head: a chunk of actions given what was read and a latent style."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forehand.compose.parts import Inputs, LossTerms, SamplingActionHead, masked_mean
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand.utils.numbers import not_negative
from forehand_plugins.action_heads.action_terms import ActionTerms, require_choice, require_counts

DECODINGS = ("prior_mean", "sample")


class CVAE(SamplingActionHead):
    """Conditional variational autoencoder of action chunks (ACT, Zhao et al. 2023; Sohn et al. 2015).

    In training a transformer encoder reads the chunk of demonstrated actions, and what the queries have read, and gives
    the mean and variance of a style; an MLP regresses each action from its query's readout and a style drawn from them.
    At run time there is nothing to encode: the style comes from the prior, a standard normal distribution.

    chunk: H, the number of actions. style: length of the style vector. decode: ``prior_mean``, the style is zero as in
    ACT, which is deterministic; ``sample``, it is drawn. It can be changed after training. width, layers, heads: of the
    encoder; width also of the MLP.

    Loss: mean absolute error, ``motion`` with weight 1 and ``gripper``, the elements of fields whose ``gripper`` sense
    the contract states, with ``gripper_weight``; ``kl``, the divergence of the style's distribution from the prior in
    nats, with ``kl_weight``.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        chunk: int = 8,
        style: int = 32,
        kl_weight: float = 10.0,
        decode: str = "prior_mean",
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        gripper_weight: float = 1.0,
    ) -> None:
        super().__init__()
        part = "cvae"
        require_counts(part, chunk=chunk, style=style, width=width, layers=layers, heads=heads)
        require_choice(part, "decode", decode, DECODINGS)
        not_negative(**{f"{part}: kl_weight": kl_weight})
        if width % heads:
            raise ConfigurationError(f"{part}: width {width} is not divisible by heads {heads}.")
        self.terms = ActionTerms.of(contract, part, gripper_weight)
        self._add_queries(chunk, dim)
        self.chunk, self.style, self.decode = chunk, style, decode
        self.weights = {**self.terms.weights, "kl": kl_weight}
        self.summary = nn.Parameter(torch.randn(1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(chunk, width) * 0.02)
        self.enter = nn.Linear(contract.action_size + dim, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.mean_and_log_variance = nn.Linear(width, 2 * style)
        self.decoder = nn.Sequential(
            nn.Linear(dim + style, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, contract.action_size),
        )

    @property
    def noise_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(style,) for ``sample``, else empty."""
        return (self.style,) if self.decode == "sample" else ()

    def _encode(self, readout: Tensor, actions: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the style of (N, H, A) actions given (N, H, D) readout, (N, style) both."""
        tokens = self.enter(torch.cat([actions, readout], dim=-1)) + self.position
        tokens = torch.cat([self.summary.expand(len(tokens), -1, -1), tokens], dim=1)
        hidden = torch.cat([valid.new_zeros(len(valid), 1), ~valid], dim=1)
        summary = self.encoder(tokens, src_key_padding_mask=hidden)[:, 0]
        mean, log_variance = self.mean_and_log_variance(summary).chunk(2, dim=-1)
        return mean, log_variance

    def _decode(self, readout: Tensor, style: Tensor) -> Tensor:
        """(..., H, D) readout and (..., style) style → (..., H, A)."""
        each = style[..., None, :].expand(*readout.shape[:-1], -1)
        actions: Tensor = self.decoder(torch.cat([readout, each], dim=-1))
        return actions

    def sample(self, readout: Tensor, noise: Tensor) -> Tensor:
        """(..., H, D) readout and (..., style) noise → (..., H, A) actions, normalized.

        The noise is the style; for ``prior_mean`` it is not used.
        """
        if self.decode == "prior_mean":
            noise = readout.new_zeros(*readout.shape[:-2], self.style)
        return self._decode(readout, noise)

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``motion`` and ``gripper``, means over the valid actions; ``kl``, over the timesteps that have any."""
        actions: Tensor = target["actions"]
        mean, log_variance = self._encode(readout.flatten(0, 1), actions.flatten(0, 1), valid.flatten(0, 1))
        style = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        error = (self._decode(readout, style.unflatten(0, actions.shape[:2])) - actions).abs()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
        return {**self.terms.means(error, valid), "kl": masked_mean(kl, valid.any(dim=-1).flatten())}
