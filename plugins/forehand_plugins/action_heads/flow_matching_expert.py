"""Flow-matching action expert: noisy actions as tokens of the backbone, in every step of the integration."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forehand.compose.parts import Inputs, IterativeActionHead, LossTerms, Read
from forehand.contracts.contract import Contract
from forehand_plugins.action_heads.action_terms import ActionTerms, require_choice, require_counts
from forehand_plugins.action_heads.denoising import TimeEmbedding
from forehand_plugins.action_heads.rectified_flow import TIMES, draw_path, integrate


class FlowMatchingExpert(IterativeActionHead):
    """Flow matching whose tokens, a noisy action each, run through the backbone, as those of π0 (Black et al. 2024).

    The context is computed once, and each Euler step runs the chunk's tokens over its cache. A token is an MLP of the
    noisy action and the time's sinusoidal embedding (appendix B there). Unlike π0's expert it shares the backbone's
    weights. The actions read each other where the reads table says ``action: {action: same, ...}``. At an episode's end
    they then also read those behind it, which repeat the last and have no loss.

    chunk: H, the number of actions. steps: of Euler's method at run time, a pass through the backbone each. times:
    distribution of the time in training, ``beta`` (early times, as π0) or ``uniform``. width: of the token's MLP, even;
    None: D. Loss: squared error of the velocity, ``motion`` with weight 1 and ``gripper``, the elements of fields whose
    ``gripper`` sense the contract states, with ``gripper_weight``.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        chunk: int = 8,
        steps: int = 10,
        times: str = "beta",
        width: int | None = None,
        gripper_weight: float = 1.0,
    ) -> None:
        super().__init__()
        part, width = "flow_matching_expert", width or dim
        require_counts(part, chunk=chunk, steps=steps, width=width)
        require_choice(part, "times", times, TIMES)
        self.terms = ActionTerms.of(contract, part, gripper_weight)
        self._add_queries(chunk, dim)
        self.chunk, self.steps, self.times = chunk, steps, times
        self.weights, self.noise_shape = self.terms.weights, (chunk, contract.action_size)
        self.enter = nn.Linear(contract.action_size, width)
        self.time = TimeEmbedding(width)
        self.merge = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, dim))
        self.leave = nn.Linear(dim, contract.action_size)

    def _tokens(self, noisy: Tensor, times: Tensor) -> Tensor:
        """(..., H, A) noisy actions at times (...) → (..., H, D)."""
        actions = self.enter(noisy)
        when = self.time(times)[..., None, :].expand_as(actions)
        tokens: Tensor = self.queries + self.merge(torch.cat([actions, when], dim=-1))
        return tokens

    def training_tokens(self, target: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Tokens (B, T, H, D) at a random time for each timestep; and the ``velocity`` (B, T, H, A) to be predicted."""
        times, noisy, velocity = draw_path(target["actions"], self.times)
        return self._tokens(noisy, times), {"velocity": velocity}

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``motion`` and ``gripper``, means over the valid actions."""
        return self.terms.means((self.leave(readout) - target["velocity"]).square(), valid)

    def sample(self, read: Read, noise: Tensor) -> Tensor:
        """Actions (N, H, A), normalized, from noise (N, H, A), in ``steps`` passes through the backbone."""
        return integrate(lambda noisy, times: self.leave(read(self._tokens(noisy, times))), noise, self.steps)
