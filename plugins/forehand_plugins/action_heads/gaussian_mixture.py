"""Gaussian-mixture action head: several modes of motion, each with its probability and its spread."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from forehand.compose.parts import Inputs, LossTerms, SamplingActionHead
from forehand.compose.process_means import denominator
from forehand.contracts.contract import Contract
from forehand.utils.numbers import positive
from forehand_plugins.action_heads.action_terms import ActionTerms, require_choice, require_counts

MIXTURES = ("action", "chunk")
DECODINGS = ("low_noise", "mode", "sample")


class GaussianMixture(SamplingActionHead):
    """Mixture of diagonal Gaussians by an MLP on each query (as BC-RNN-GMM, Mandlekar et al. 2021; Bishop 1994).

    chunk: H, the number of actions. modes: K, the components. mixture: ``action``, each action has components of its own,
    chosen independently; ``chunk``, one component is chosen for all of a chunk, so that its actions belong together.
    min_std: lower bound of the standard deviations, in normalized units. Gradients of a mean grow with 1 / std, so a low
    bound leaves the training to elements that hardly vary and to grippers. width: of the MLP; None: D.

    decode: ``low_noise``, the mean of a component that is drawn (as robomimic evaluates, but for its noise of 1e-4);
    ``mode``, the mean of the most probable component, which is deterministic; ``sample``, an action drawn from the
    mixture. It can be changed after training.

    Loss: ``negative_log_likelihood`` of the valid actions, in nats for each. The log densities of the elements of fields
    whose ``gripper`` sense the contract states count ``gripper_weight`` times.
    """

    element_weights: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        chunk: int = 8,
        modes: int = 5,
        mixture: str = "chunk",
        min_std: float = 0.1,
        decode: str = "low_noise",
        width: int | None = None,
        gripper_weight: float = 1.0,
    ) -> None:
        super().__init__()
        part, width = "gaussian_mixture", width or dim
        require_counts(part, chunk=chunk, modes=modes, width=width)
        require_choice(part, "mixture", mixture, MIXTURES)
        require_choice(part, "decode", decode, DECODINGS)
        positive(**{f"{part}: min_std": min_std})
        terms = ActionTerms.of(contract, part, gripper_weight)
        self._add_queries(chunk, dim)
        self.chunk, self.modes, self.mixture, self.min_std, self.decode = chunk, modes, mixture, min_std, decode
        self.weights = {"negative_log_likelihood": 1.0}
        self.action_size = contract.action_size
        self.register_buffer("element_weights", terms.by_element(), persistent=False)
        self.trunk = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.logits = nn.Linear(width, modes)
        self.mean_and_spread = nn.Linear(width, 2 * modes * contract.action_size)

    @property
    def noise_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(H, 1 + A); empty for ``mode``."""
        return () if self.decode == "mode" else (self.chunk, 1 + self.action_size)

    def _components(self, readout: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log probabilities (..., H or 1, K) of the components, means and standard deviations, (..., H, K, A) both."""
        hidden = self.trunk(readout)
        mean, spread = self.mean_and_spread(hidden).unflatten(-1, (self.modes, -1)).chunk(2, dim=-1)
        chosen = hidden.mean(dim=-2, keepdim=True) if self.mixture == "chunk" else hidden
        return self.logits(chosen).log_softmax(dim=-1), mean, F.softplus(spread) + self.min_std

    def sample(self, readout: Tensor, noise: Tensor) -> Tensor:
        """(..., H, D) readout and (..., H, 1 + A) noise → (..., H, A) actions, normalized.

        The normal distribution function of each action's first number, of a chunk's first one if its actions share their
        component, chooses the component; the others are standard normal errors. For ``mode`` the noise is not used.
        """
        logs, mean, std = self._components(readout)
        if self.decode == "mode":
            index = logs.argmax(dim=-1)
        else:
            which = torch.special.ndtr(noise[..., : logs.shape[-2], 0])
            index = (logs.exp().cumsum(dim=-1) < which[..., None]).sum(dim=-1).clamp(max=self.modes - 1)
        at = index[..., None, None].expand(*mean.shape[:-2], 1, mean.shape[-1])
        actions = mean.gather(-2, at).squeeze(-2)
        if self.decode == "sample":
            actions = actions + std.gather(-2, at).squeeze(-2) * noise[..., 1:]
        return actions

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``negative_log_likelihood``, summed over the valid actions, by their number."""
        logs, mean, std = self._components(readout)
        each = Normal(mean, std, validate_args=False).log_prob(target["actions"][..., None, :])
        density = each * self.element_weights
        density = density.sum(dim=-1).masked_fill(~valid[..., None], 0.0)
        if self.mixture == "chunk":
            density = density.sum(dim=-2, keepdim=True)
        likelihood = (logs + density).logsumexp(dim=-1).masked_fill(~self._counts(valid), 0.0)
        return {"negative_log_likelihood": -likelihood.sum() / denominator(valid.sum().to(likelihood.dtype))}

    def _counts(self, valid: Tensor) -> Tensor:
        """Which mixtures hold a valid action, (..., H or 1)."""
        return valid.any(dim=-1, keepdim=True) if self.mixture == "chunk" else valid
