"""Conformance checks for augmentations. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor

from forehand.compose.augmentation import Augmentation, Draws
from forehand.conformance.example import require
from forehand.conformance.modules import Factory, seeded, shape
from forehand.registry import indefinite

SIZE = (20, 28)
COUNT = 5


def assert_augmentation_conforms(factory: Factory) -> None:
    """Shape and dtype of what it makes of uint8 and float images, and where its randomness comes from.

    Drawing follows from torch's default generator alone; applying draws nothing, changes nothing that it was given, and
    makes of each image what follows from the image and its own draw.
    """
    part = factory()
    require(
        isinstance(part, Augmentation), f"the factory makes {indefinite(type(part).__name__)}, which is no Augmentation"
    )
    draws, again, other = _drawn(part, 0), _drawn(part, 0), _drawn(part, 1)
    for name, values in draws.items():
        require(
            isinstance(values, Tensor) and len(values) == COUNT,
            f"draw({COUNT}) must give a row for each image; {name!r} is {shape(values)}",
        )
        require(torch.equal(values, again[name]), f"{name!r} must be the same for the same state of torch's generator")
    random = [name for name, values in draws.items() if not torch.equal(values, other[name])]
    with seeded(3):
        pixels = torch.randint(0, 256, (COUNT, *SIZE, 3)).byte()
    for images in (pixels, pixels.float() / 255):
        before = images.clone()
        with seeded(0):
            changed = part.apply(images, draws)
        with seeded(1):
            repeated = part.apply(images, draws)
        require(
            changed.shape == images.shape and changed.dtype == images.dtype,
            f"apply must keep {shape(images)}; it returned {shape(changed)}",
        )
        require(torch.equal(changed, repeated), "apply must be the same for the same images and draws: it draws, too")
        require(torch.equal(images, before), "apply changed the images that it was given; make new ones")
        require(torch.isfinite(changed.float()).all(), "apply makes images that are not finite")
        for row in range(COUNT):
            alone = part.apply(images[row : row + 1], {name: values[row : row + 1] for name, values in draws.items()})
            require(
                torch.allclose(alone.float(), changed[row : row + 1].float(), rtol=1e-4, atol=1e-4),
                "an image must be changed alone as in a batch: apply looks at other rows",
            )
        if random:
            others = part.apply(images, other)
            require(not torch.equal(others, changed), f"other draws of {', '.join(random)} must change images otherwise")


def _drawn(part: Augmentation, seed: int) -> Draws:
    with seeded(seed):
        return part.draw(COUNT, torch.device("cpu"))
