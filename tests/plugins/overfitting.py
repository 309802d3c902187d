"""Small data, and a training by heart, with which tests see that an encoder learns."""

from typing import Any

import torch
from torch import Tensor, nn

from forehand.compose import Encoder

SIZE = 32  # pixels
DIM = 16  # of a token


def squares(count: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Images with a red and a green square each, and the squares' positions in [-1, 1]: (N, H, W, 3), 2 × (N, 2)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(count, SIZE, SIZE, 3, dtype=torch.uint8)
    corners = torch.randint(0, SIZE - 6, (2, count, 2), generator=generator)
    for channel, places in enumerate(corners):
        for image, (y, x) in zip(images, places.tolist(), strict=True):
            image[y : y + 6, x : x + 6, channel] = 255
    red, green = corners.flip(-1).float() / (SIZE - 6) * 2 - 1
    return images, red, green


def overfit(
    encoder: Encoder, inputs: dict[str, Any], target: Tensor, steps: int = 30, rate: float = 3e-3
) -> tuple[float, float]:
    """Mean squared error of a linear readout of the tokens, at the start and after training both."""
    head = nn.Linear(sum(g.count for g in encoder.groups) * DIM, target.shape[1])
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=rate)
    losses = []
    for _ in range(steps):
        tokens = torch.cat(list(encoder(inputs).values()), dim=1).flatten(1)
        loss = (head(tokens) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]
