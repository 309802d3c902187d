"""Frames are shifted each on its own, by up to so many pixels, and their border is repeated."""

import torch
import torch.nn.functional as F

from forehand.compose.augmentation import random_shift


def every_shift(image, pixels):
    """All pictures that an image (H, W, C) may become, by their shift."""
    height, width, _ = image.shape
    planes = image.permute(2, 0, 1)[None].float()
    padded = F.pad(planes, (pixels,) * 4, mode="replicate")[0].permute(1, 2, 0).to(image.dtype)
    return {(i, j): padded[i : i + height, j : j + width] for i in range(2 * pixels + 1) for j in range(2 * pixels + 1)}


def test_each_frame_is_shifted_by_itself_and_its_border_repeated():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (60, 8, 6, 3)).byte()
    shifted = random_shift(images, 2)
    assert shifted.dtype == torch.uint8
    found = set()
    for image, result in zip(images, shifted, strict=True):
        matches = [shift for shift, expected in every_shift(image, 2).items() if torch.equal(expected, result)]
        assert len(matches) == 1
        found.update(matches)
    assert {i for i, _ in found} == {j for _, j in found} == set(range(5))  # both ends are reached
    assert any(i != j for i, j in found)


def test_no_shift_is_no_change():
    images = torch.rand(2, 4, 4, 3)
    assert random_shift(images, 0) is images
