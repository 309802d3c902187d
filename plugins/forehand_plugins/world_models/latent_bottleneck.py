"""Bottlenecks of latent actions: finite scalar quantization, or a regularised continuous one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.parts import LossTerms, masked_mean
from forehand.errors import ConfigurationError, nearest
from forehand.utils.numbers import count, not_negative
from forehand_plugins.world_models.image_tokenizer import FiniteScalarQuantization

PART = "latent_actions"
LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE = -8.0, 4.0


class Bottleneck(nn.Module, ABC):
    """What an inverse model may say of two frames: ``size`` numbers, the latent action, made of ``inputs`` numbers.

    outputs: numbers in which a latent action is predicted. weights: of its own loss terms.
    """

    size: int
    inputs: int
    outputs: int
    weights: Mapping[str, float]

    @abstractmethod
    def forward(self, numbers: Tensor, valid: Tensor) -> tuple[Tensor, LossTerms]:
        """(..., inputs) → latent actions (..., size), and loss terms and measures where ``valid`` (...), scalars."""

    @abstractmethod
    def error(self, predicted: Tensor, latent: Tensor) -> Tensor:
        """(..., outputs) against latent actions (..., size) → (...), averaged over the numbers."""

    @abstractmethod
    def expected(self, predicted: Tensor) -> Tensor:
        """(..., outputs) → the likeliest latent actions (..., size)."""


class QuantizedBottleneck(Bottleneck):
    """Finite scalar quantization (Mentzer et al. 2024); a prediction is a class for each number.

    Its measure ``perplexity`` is how many codes a batch uses: exp of the entropy of how often each occurs.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or any(not isinstance(n, int) or n < 2 for n in levels):
            raise ConfigurationError(f"{PART}: levels are whole numbers of 2 or more, not {list(levels)}.")
        self.quantize = FiniteScalarQuantization(levels)
        self.size = self.inputs = len(levels)
        self.outputs, self.weights = sum(levels), {}

    def forward(self, numbers: Tensor, valid: Tensor) -> tuple[Tensor, LossTerms]:
        """See :meth:`Bottleneck.forward`; gradients pass the rounding unchanged."""
        latent = self.quantize(numbers)
        with torch.no_grad():
            used = self.quantize.to_codes(latent)[valid].unique(return_counts=True)[1].float()
            share = used / used.sum()
            perplexity = torch.exp(-(share * share.log()).sum())
        return latent, {"perplexity": perplexity}

    def error(self, predicted: Tensor, latent: Tensor) -> Tensor:
        """Cross-entropy of a level, in nats."""
        levels = self.quantize.to_levels(latent)
        each = [
            F.cross_entropy(logits.flatten(0, -2), levels[..., i].flatten(), reduction="none")
            for i, logits in enumerate(self._split(predicted))
        ]
        return torch.stack(each).mean(dim=0).view(latent.shape[:-1])

    def expected(self, predicted: Tensor) -> Tensor:
        """The level of the largest logit, of each number."""
        chosen = [logits.argmax(dim=-1) for logits in self._split(predicted)]
        return self.quantize.from_levels(torch.stack(chosen, dim=-1))

    def _split(self, predicted: Tensor) -> tuple[Tensor, ...]:
        return predicted.split(self.quantize.levels, dim=-1)


class GaussianBottleneck(Bottleneck):
    """Normally distributed numbers, held near a standard normal by ``kl``, as in a β-VAE (Higgins et al. 2017).

    They are drawn in training, and their means in evaluation; a prediction is of the means.
    """

    def __init__(self, size: int, kl_weight: float) -> None:
        super().__init__()
        count(**{f"{PART}: size": size})
        not_negative(**{f"{PART}: kl_weight": kl_weight})
        self.size, self.inputs, self.outputs, self.weights = size, 2 * size, size, {"kl": kl_weight}

    def forward(self, numbers: Tensor, valid: Tensor) -> tuple[Tensor, LossTerms]:
        """See :meth:`Bottleneck.forward`; ``kl`` is the divergence in nats, summed over the numbers."""
        mean, log_variance = numbers.float().chunk(2, dim=-1)
        log_variance = log_variance.clamp(LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp() if self.training else mean
        return latent, {"kl": masked_mean(kl, valid)}

    def error(self, predicted: Tensor, latent: Tensor) -> Tensor:
        """Smooth L1 error of a number."""
        return F.smooth_l1_loss(predicted, latent, reduction="none").mean(dim=-1)

    def expected(self, predicted: Tensor) -> Tensor:
        """As predicted."""
        return predicted


def make_bottleneck(name: str, *, levels: Sequence[int], size: int, kl_weight: float) -> Bottleneck:
    """``fsq`` of these levels, or ``gaussian`` of this size; else raises :class:`ConfigurationError`."""
    makers: Mapping[str, Any] = {
        "fsq": lambda: QuantizedBottleneck(levels),
        "gaussian": lambda: GaussianBottleneck(size, kl_weight),
    }
    if name not in makers:
        raise ConfigurationError(f"{PART}: unknown bottleneck {name!r}. {nearest(name, makers)}")
    made: Bottleneck = makers[name]()
    return made
