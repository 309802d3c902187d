"""A policy that is not composed of parts: it takes its window by offsets, and chooses its parameter groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forehand import Contract, Observation, Policy, Prediction, Session
from forehand.compose.parts import masked_mean
from forehand.data.window_spec import WindowSpec
from forehand.learning.recipe import Recipe
from forehand.utils.images import resize

GRID = 4


class OffsetSession(Session):
    """The frame of the step before."""

    before: Observation | None = None

    def reset(self, instruction: str | None = None) -> None:
        super().reset(instruction)
        self.before = None


class OffsetPolicy(nn.Module, Policy):
    """Two frames of a camera and of the state in; the action of the step before, and those that follow, out."""

    history = 2
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        statistics: Mapping[str, Any],
        camera: str = "static",
        image_size: int = 16,
        chunk: int = 3,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.contract, self.camera, self.image_size, self.chunk = contract, camera, image_size, chunk
        images = statistics[f"observation.images.{camera}"]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.as_tensor(np.asarray(images[name]), dtype=torch.float32))
        self.encoder = nn.Linear(2 * (3 * GRID**2 + contract.state_size), width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, (chunk + 1) * contract.action_size)

    @property
    def window(self) -> WindowSpec:
        return WindowSpec(
            observation={f"images.{self.camera}": (-1, 0), "state": (-1, 0)},
            target={"action": range(-1, self.chunk)},
            image_size=self.image_size,
        )

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        rest = [*self.norm.parameters(), *self.head.parameters()]
        encoder = {"name": "encoder", "params": self.encoder.parameters(), "lr": recipe.learning_rate / 2}
        return [encoder, {"name": "rest", "params": rest, "weight_decay": 0.0}]

    def load_pretrained(self) -> None:
        """It starts from scratch."""

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        observation, target = batch["observation"], batch["target"]
        error = self.actions(observation[f"images.{self.camera}"], observation["state"]) - target["action"]
        loss = masked_mean((100 * error).square().mean(dim=-1), target["action_valid"])
        return loss, {"squared_error": loss}

    def actions(self, images: Tensor, states: Tensor) -> Tensor:
        """(B, 2, H, W, 3) images and (B, 2, S) states → (B, chunk + 1, A), the first of them for the step before."""
        pixels = ((images.float() / 255 - self.mean) / (self.std + 1e-3)).flatten(0, 1).permute(0, 3, 1, 2)
        cells = nn.functional.adaptive_avg_pool2d(pixels, GRID).reshape(len(images), -1)
        features = self.norm(self.encoder(torch.cat([cells, states.flatten(1)], dim=1)).tanh())
        return self.head(features).unflatten(-1, (self.chunk + 1, -1)) / 100

    def open(self, instruction: str, seed: int = 0) -> OffsetSession:
        return OffsetSession(instruction, seed)

    @torch.inference_mode()
    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        if not sessions:
            return []
        pairs = [(s.before or o, o) for s, o in zip(sessions, observations, strict=True)]  # type: ignore[attr-defined]
        for session, observation in zip(sessions, observations, strict=True):
            self.remember(session, [observation])
        frames = [resize(np.stack([o.images[self.camera] for o in pair]), self.image_size) for pair in pairs]
        states = torch.from_numpy(np.stack([[o.state for o in pair] for pair in pairs]))
        return [Prediction(chunk.numpy()[1:]) for chunk in self.actions(torch.from_numpy(np.stack(frames)), states)]

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        for observation in observations:
            session.before = observation  # type: ignore[attr-defined]
