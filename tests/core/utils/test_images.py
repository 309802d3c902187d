import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from forehand.utils.images import resize


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_whole_number_reductions_are_exact_averages():
    frames = noise(2, 12, 8, 3)
    expected = np.floor(frames.reshape(2, 4, 3, 4, 2, 3).astype(float).mean(axis=(2, 4)) + 0.5)
    np.testing.assert_array_equal(resize(frames, (4, 4)), expected)


@pytest.mark.parametrize("size", [(20, 30), (64, 48), (7, 41)])
def test_other_sizes_are_antialiased_bilinear_as_torch_computes_it(size: tuple[int, int]):
    frames = noise(3, 48, 41, 3)
    reference = interpolate(
        torch.from_numpy(frames).permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True, align_corners=False
    )
    difference = resize(frames, size).astype(int) - reference.permute(0, 2, 3, 1).numpy()
    assert np.abs(difference).max() <= 0.51


def test_a_frame_is_resized_alike_whether_alone_or_among_many():
    frames = noise(150, 40, 40, 3)
    together = resize(frames, 28)
    np.testing.assert_array_equal(together[77:78], resize(frames[77:78], 28))


def test_frames_of_the_right_size_are_left_alone():
    frames = noise(2, 16, 16, 3)
    assert resize(frames, 16) is frames


def test_anything_but_uint8_frames_is_refused():
    with pytest.raises(ValueError, match="uint8 frames"):
        resize(np.zeros((2, 8, 8, 3), np.float32), 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(128, 128), (200, 200), (84, 84), (480, 640), (250, 300), (672, 700)])
def test_bicubic_is_pillows_with_the_middle_cut_out(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    scale = 224 / min(shape)
    height, width = (max(224, int(side * scale)) for side in shape)
    whole = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    np.testing.assert_array_equal(resize(image[None], 224, "bicubic")[0], whole[top : top + 224, left : left + 224])
