"""Discrete action head: each element of an action as one of several bins."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.parts import Inputs, LossTerms, SamplingActionHead, known_numbers
from forehand.contracts.contract import Contract
from forehand.utils.numbers import count, positive
from forehand_plugins.action_heads.action_terms import ActionTerms, require_choice, require_counts

SPACINGS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "uniform": lambda share, limit: limit * (2 * share - 1),
    "quantile": lambda share, limit: limit * torch.special.ndtri(share),
}
"""Share of the range that lies below → normalized action."""

DECODINGS = ("argmax", "expectation", "sample")


class DiscreteBins(SamplingActionHead):
    """Classification of each element of each action into bins (RT-1, Brohan et al. 2022; OpenVLA, Kim et al. 2024).

    An MLP on each query gives the logits of all of an action's elements at once, which are independent of each other.

    chunk: H, the number of actions. bins: of each element. spacing: ``uniform``, bins of equal width from ``-limit`` to
    ``limit`` in normalized units (with the normalization ``quantiles`` and limit 1 they are OpenVLA's); ``quantile``,
    bins that are equally probable under a normal distribution of standard deviation ``limit``, for the normalization
    ``mean_std``. What lies outside falls into the outermost bin. width: of the MLP; None: D.

    decode: ``argmax``, the centre of the most probable bin; ``expectation``, the mean of the centres; ``sample``, the
    centre of a bin that is drawn, for each element independently. It can be changed after training.

    Loss: cross-entropy in nats, ``motion`` with weight 1 and ``gripper``, the elements of fields whose ``gripper`` sense
    the contract states, with ``gripper_weight``.
    """

    partial = True
    edges: Tensor
    centres: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        chunk: int = 8,
        bins: int = 256,
        spacing: str = "uniform",
        limit: float = 1.0,
        decode: str = "argmax",
        width: int | None = None,
        gripper_weight: float = 1.0,
    ) -> None:
        super().__init__()
        part, width = "discrete_bins", width or dim
        require_counts(part, chunk=chunk, width=width)
        count(least=2, **{f"{part}: bins": bins})
        require_choice(part, "spacing", spacing, SPACINGS)
        require_choice(part, "decode", decode, DECODINGS)
        positive(**{f"{part}: limit": limit})
        self.terms = ActionTerms.of(contract, part, gripper_weight)
        self._add_queries(chunk, dim)
        self.chunk, self.bins, self.decode, self.weights = chunk, bins, decode, self.terms.weights
        self.action_size = contract.action_size
        place = SPACINGS[spacing]
        self.register_buffer("edges", place(torch.arange(1, bins) / bins, limit), persistent=False)
        self.register_buffer("centres", place((torch.arange(bins) + 0.5) / bins, limit), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, contract.action_size * bins))

    @property
    def noise_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(H, A) for ``sample``, else empty."""
        return (self.chunk, self.action_size) if self.decode == "sample" else ()

    def _logits(self, readout: Tensor) -> Tensor:
        """(..., H, D) readout → (..., H, A, bins)."""
        logits: Tensor = self.mlp(readout)
        return logits.unflatten(-1, (-1, self.bins))

    def sample(self, readout: Tensor, noise: Tensor) -> Tensor:
        """(..., H, D) readout and (..., H, A) noise → (..., H, A) actions, normalized.

        The normal distribution function of a number of the noise chooses the bin of its element. For ``argmax`` and
        ``expectation`` the noise is not used.
        """
        logits = self._logits(readout)
        if self.decode == "argmax":
            return self.centres[logits.argmax(dim=-1)]
        probabilities = logits.softmax(dim=-1)
        if self.decode == "expectation":
            return probabilities @ self.centres
        below = probabilities.cumsum(dim=-1) < torch.special.ndtr(noise)[..., None]
        return self.centres[below.sum(dim=-1).clamp(max=self.bins - 1)]

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``motion`` and ``gripper``, means over the valid actions."""
        logits, labels = self._logits(readout), torch.bucketize(target["actions"].contiguous(), self.edges)
        surprise = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
        return self.terms.means(surprise.reshape(labels.shape), known_numbers(target, valid))
