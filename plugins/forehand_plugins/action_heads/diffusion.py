"""Diffusion action head: denoising diffusion in training, deterministic implicit sampling at run time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from forehand.compose.parts import Inputs, LossTerms, SamplingActionHead
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand.utils.numbers import positive
from forehand_plugins.action_heads.action_terms import ActionTerms, require_choice, require_counts
from forehand_plugins.action_heads.denoising import DenoisingTransformer

PREDICTIONS = ("epsilon", "sample")
SCHEDULE = "squaredcos_cap_v2"
"""Name of the cosine schedule (Nichol & Dhariwal 2021) in the diffusers library; Diffusion Policy's too."""


class Diffusion(SamplingActionHead):
    """Diffusion Policy's action head (Chi et al. 2023): DDPM (Ho et al. 2020) in training, DDIM (Song et al. 2021) after.

    A small transformer over the chunk's actions denoises them, given what the queries have read, one for each action. The
    backbone runs once for a chunk. Sampling is deterministic given its noise (eta 0). The noise schedules are those of
    the diffusers library, extra ``diffusion``.

    chunk: H, the number of actions. diffusion_steps: of the noise schedule. steps: of them that run time takes, evenly
    spaced from the first. prediction: what the network predicts, the noise (``epsilon``) or the actions (``sample``).
    clip: largest absolute value of the actions predicted in a step, in normalized units; None: no bound. 1 suits actions
    that are normalized to their range. noise_samples: draws of noise and diffusion step for each readout in training.
    width, layers, heads: of the transformer. Loss: squared error of what is predicted, ``motion`` with weight 1 and
    ``gripper``, the elements of fields whose ``gripper`` sense the contract states, with ``gripper_weight``.

    Raises :class:`ConfigurationError` where diffusers is not installed.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        chunk: int = 8,
        diffusion_steps: int = 100,
        steps: int = 10,
        prediction: str = "epsilon",
        clip: float | None = 5.0,
        noise_samples: int = 4,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        gripper_weight: float = 1.0,
    ) -> None:
        super().__init__()
        part = "diffusion"
        require_counts(part, chunk=chunk, diffusion_steps=diffusion_steps, steps=steps, noise_samples=noise_samples)
        require_counts(part, width=width, layers=layers, heads=heads)
        if steps > diffusion_steps:
            raise ConfigurationError(f"{part}: steps ({steps}) must be at most diffusion_steps ({diffusion_steps}).")
        positive(**{f"{part}: clip": clip})
        require_choice(part, "prediction", prediction, PREDICTIONS)
        self.terms = ActionTerms.of(contract, part, gripper_weight)
        self._add_queries(chunk, dim)
        self.chunk, self.prediction, self.noise_samples = chunk, prediction, noise_samples
        self.diffusion_steps = diffusion_steps
        self.weights, self.noise_shape = self.terms.weights, (chunk, contract.action_size)
        self.forward_process, self.reverse_process = _schedules(diffusion_steps, prediction, clip)
        self.reverse_process.set_timesteps(steps)
        self.denoise = DenoisingTransformer(dim, contract.action_size, chunk, width, layers, heads)

    def sample(self, readout: Tensor, noise: Tensor) -> Tensor:
        """(..., H, D) readout and (..., H, A) noise → (..., H, A) actions, normalized."""
        context = readout.reshape(-1, *readout.shape[-2:])
        actions = noise.reshape(-1, *noise.shape[-2:])
        for step in self.reverse_process.timesteps.tolist():
            times = actions.new_full((len(actions), 1), step / self.diffusion_steps)
            predicted = self.denoise(actions[:, None], times, context)[:, 0]
            actions = self.reverse_process.step(predicted, step, actions, eta=0.0).prev_sample
        return actions.reshape(noise.shape)

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``motion`` and ``gripper``, means over noise samples and the valid actions, which alone are read."""
        actions: Tensor = target["actions"]
        several = actions.flatten(0, 1)[:, None].expand(-1, self.noise_samples, -1, -1)
        steps = torch.randint(self.diffusion_steps, several.shape[:2], device=actions.device)
        noise = torch.randn_like(several)
        flat = (several.flatten(0, 1), noise.flatten(0, 1), steps.flatten())
        noisy = self.forward_process.add_noise(*flat).reshape(several.shape)
        predicted = self.denoise(noisy, steps / self.diffusion_steps, readout.flatten(0, 1), valid.flatten(0, 1))
        error = (predicted - (noise if self.prediction == "epsilon" else several)).square().mean(dim=1)
        return self.terms.means(error.reshape(actions.shape), valid)


def _schedules(diffusion_steps: int, prediction: str, clip: float | None) -> tuple[Any, Any]:
    """The noise schedules of training and of run time."""
    try:
        from diffusers import DDIMScheduler, DDPMScheduler
    except ModuleNotFoundError as error:
        if error.name != "diffusers":
            raise
        raise ConfigurationError(
            "diffusion: it needs the library diffusers, which is not installed: pip install 'forehand[diffusion]'."
        ) from error
    shared = {"num_train_timesteps": diffusion_steps, "beta_schedule": SCHEDULE, "prediction_type": prediction}
    bound = {"clip_sample": clip is not None, "clip_sample_range": clip or 1.0}
    return DDPMScheduler(**shared), DDIMScheduler(**shared, **bound)
