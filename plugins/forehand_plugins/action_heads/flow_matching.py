"""Flow-matching action head: a chunk of actions from noise, along a learned velocity field."""

from __future__ import annotations

from torch import Tensor

from forehand.compose.parts import Inputs, LossTerms, SamplingActionHead
from forehand.contracts.contract import Contract
from forehand_plugins.action_heads.action_terms import ActionTerms, require_choice, require_counts
from forehand_plugins.action_heads.denoising import DenoisingTransformer
from forehand_plugins.action_heads.rectified_flow import TIMES, draw_path, integrate


class FlowMatching(SamplingActionHead):
    """Conditional flow matching on straight paths (Lipman et al. 2023; rectified flow, Liu et al. 2023).

    A small transformer over the chunk's actions predicts the velocity from noise to actions, given what the queries have
    read, one for each action. The backbone runs once for a chunk; :class:`FlowMatchingExpert` runs it in every step.

    chunk: H, the number of actions. steps: of Euler's method at run time. times: distribution of the time in training,
    ``uniform`` or ``beta`` (early times, Black et al. 2024). noise_samples: draws of noise and time for each readout in
    training. width, layers, heads: of the transformer. Loss: squared error of the velocity, ``motion`` with weight 1 and
    ``gripper``, the elements of fields whose ``gripper`` sense the contract states, with ``gripper_weight``.
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
        noise_samples: int = 4,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        gripper_weight: float = 1.0,
    ) -> None:
        super().__init__()
        part = "flow_matching"
        require_counts(part, chunk=chunk, steps=steps, noise_samples=noise_samples)
        require_counts(part, width=width, layers=layers, heads=heads)
        require_choice(part, "times", times, TIMES)
        self.terms = ActionTerms.of(contract, part, gripper_weight)
        self._add_queries(chunk, dim)
        self.chunk, self.steps, self.times, self.noise_samples = chunk, steps, times, noise_samples
        self.weights, self.noise_shape = self.terms.weights, (chunk, contract.action_size)
        self.velocity = DenoisingTransformer(dim, contract.action_size, chunk, width, layers, heads)

    def sample(self, readout: Tensor, noise: Tensor) -> Tensor:
        """(..., H, D) readout and (..., H, A) noise → (..., H, A) actions, normalized."""
        context = readout.reshape(-1, *readout.shape[-2:])
        start = noise.reshape(-1, 1, *noise.shape[-2:])
        return integrate(lambda x, at: self.velocity(x, at, context), start, self.steps).reshape(noise.shape)

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``motion`` and ``gripper``, means over noise samples and the valid actions, which alone are read."""
        actions: Tensor = target["actions"]
        several = actions.flatten(0, 1)[:, None].expand(-1, self.noise_samples, -1, -1)
        times, noisy, velocity = draw_path(several, self.times)
        predicted = self.velocity(noisy, times, readout.flatten(0, 1), valid.flatten(0, 1))
        error = (predicted - velocity).square().mean(dim=1)
        return self.terms.means(error.reshape(actions.shape), valid)
