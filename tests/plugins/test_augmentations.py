"""Stock augmentations: each as torchvision changes one image at a time, and within the bounds of its options."""

from functools import partial

import pytest
import torch
import torchvision.transforms.v2.functional as tv

from forehand.compose.random_shift import Shift
from forehand.conformance import assert_augmentation_conforms
from forehand.errors import ConfigurationError
from forehand_plugins.augmentations.color_jitter import ColorJitter
from forehand_plugins.augmentations.crop import Crop
from forehand_plugins.augmentations.cutout import Cutout
from forehand_plugins.augmentations.gaussian_blur import GaussianBlur

CPU = torch.device("cpu")
COLOR = {"brightness": 0.4, "contrast": 0.5, "saturation": [0.2, 1.8], "hue": 0.3}
STOCK = [
    partial(Shift, pixels=4),
    partial(Crop, size=[0.5, 0.9]),
    partial(ColorJitter, **COLOR),
    partial(GaussianBlur, sigma=[0.3, 2]),
    partial(Cutout, holes=2),
]


@pytest.fixture
def images():
    """Photographs in small: smooth, with saturated and gray pixels."""
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(6, 3, 7, 9, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (32, 40), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().byte().movedim(1, -1).contiguous()


def each(images, draws, change):
    """What torchvision makes of (N, H, W, C), image by image: ``change(planes, that image's draws)``."""
    planes = images.movedim(-1, 1)
    rows = [change(p[None], {k: v[i].tolist() for k, v in draws.items()}) for i, p in enumerate(planes)]
    return torch.cat(rows).movedim(1, -1)


@pytest.mark.parametrize("make", STOCK, ids=lambda make: make.func.__name__)
def test_stock_augmentations_conform(make):
    assert_augmentation_conforms(make)


@pytest.mark.parametrize("name", COLOR)
def test_colors_are_changed_as_torchvision_does(name, images):
    part = ColorJitter(**{name: COLOR[name]})
    torch.manual_seed(0)
    draws = part.draw(len(images), CPU)
    adjust = getattr(tv, f"adjust_{name}")
    expected = each(images.float() / 255, draws, lambda planes, drawn: adjust(planes, drawn[name]))
    torch.testing.assert_close(part.apply(images.float() / 255, draws), expected, rtol=0, atol=2e-6)
    wanted = each(images, draws, lambda planes, drawn: adjust(planes, drawn[name]))
    assert (part.apply(images, draws).int() - wanted.int()).abs().max() <= 2  # torchvision rounds on the way


def test_color_changes_are_made_in_order(images):
    part = ColorJitter(**COLOR)
    torch.manual_seed(1)
    draws = part.draw(len(images), CPU)
    changed = images.float() / 255
    for name, values in draws.items():
        changed = ColorJitter(**{name: COLOR[name]}).apply(changed, {name: values})
    assert list(draws) == list(COLOR)
    torch.testing.assert_close(part.apply(images.float() / 255, draws), changed)


@pytest.mark.parametrize(("sigma", "low"), [([0.4, 1.7], 0.4), (1.2, 1.2)])
def test_a_blur_is_torchvision_s(sigma, low, images):
    part = GaussianBlur(sigma=sigma)
    torch.manual_seed(0)
    draws = part.draw(len(images), CPU)
    assert draws["sigma"].min() >= low
    side = 2 * part.radius + 1
    expected = each(
        images.float(), draws, lambda planes, drawn: tv.gaussian_blur(planes, [side, side], [drawn["sigma"]] * 2)
    )
    torch.testing.assert_close(part.apply(images.float(), draws), expected, rtol=1e-5, atol=1e-3)
    assert (part.apply(images, draws).float() - expected).abs().max() <= 0.51


@pytest.mark.parametrize("position", ["random", "center"])
def test_a_crop_is_torchvision_s(position, images):
    part = Crop(size=0.5, position=position)
    torch.manual_seed(0)
    draws = part.draw(len(images), CPU)
    height, width = images.shape[1:3]
    # The centers of whole pixels' boxes, so that torchvision can cut the same.
    left, top = ((draws["center"] / 2 + 0.25) * torch.tensor([width, height])).round().T
    draws["center"] = torch.stack([left / width, top / height], dim=1) * 2 - 0.5
    boxes = {"top": top, "left": left}

    def crop(planes, box):
        at = int(box["top"]), int(box["left"])
        return tv.resized_crop(planes, *at, height // 2, width // 2, [height, width], antialias=False)

    changed = part.apply(images.float(), draws)[:, 1:-1, 1:-1]  # ours sees beyond the box at its border
    torch.testing.assert_close(changed, each(images.float(), boxes, crop)[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-2)
    assert torch.equal(boxes["top"].unique(), torch.tensor([8.0])) == (position == "center")


def test_crops_stay_inside_the_image():
    draws = Crop(size=[0.3, 0.8]).draw(1000, CPU)
    reach = draws["center"].abs() + draws["size"][:, None]
    assert reach.max() <= 1 + 1e-6
    assert 0.3 <= draws["size"].min() < 0.35
    assert 0.75 < draws["size"].max() <= 0.8


def test_a_hole_has_the_drawn_place_and_level(images):
    images = images.clamp(min=1)
    part = Cutout(size=[0.25, 0.5])
    torch.manual_seed(0)
    draws = part.draw(len(images), CPU)
    hidden = (part.apply(images, draws) == 0).all(dim=-1)
    shown = part.apply(images, draws)[~hidden]
    assert torch.equal(shown, images[~hidden])
    for mask, first, size in zip(hidden, draws["first"][:, 0], draws["size"][:, 0], strict=True):
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        assert mask.sum() == len(rows) * len(columns)
        assert (rows[0] - first[0] * 32).abs() <= 1
        assert (len(columns) - size[1] * 40).abs() <= 1
    assert (
        Cutout(fill=0.5, size=1).apply(images, {"first": torch.zeros(6, 1, 2), "size": torch.ones(6, 1, 2)}) == 128
    ).all()


@pytest.mark.parametrize(("pixels", "expected"), [(2, {-2, -1, 0, 1, 2}), ([-1, 2], {-1, 0, 1, 2}), (0, {0})])
def test_a_shift_draws_all_of_its_range(pixels, expected):
    torch.manual_seed(0)
    draws = Shift(pixels=pixels).draw(200, CPU)
    assert set(draws["rows"].tolist()) == set(draws["columns"].tolist()) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(Shift, pixels=2.5), "pixels is a whole number"),
        (partial(Shift, pixels=[3, 1]), r"\[lowest, highest\], not \[3, 1\]"),
        (partial(Shift, pixels=1, frames="every"), "frames is each or window, not 'every'"),
        (partial(Crop, size=1.5), "crop: size must be a number from 0.01 to 1, not 1.5"),
        (partial(Crop, position="centre"), "Did you mean 'center'"),
        (partial(ColorJitter), "changes nothing"),
        (partial(ColorJitter, hue=0.7), "color_jitter: hue must be a number from -0.5 to 0.5"),
        (partial(GaussianBlur, sigma=[2, 1]), "gaussian_blur: sigma is a number or"),
        (partial(Cutout, holes=0), "holes is a whole number of at least 1"),
        (partial(Cutout, probability=2), "Cutout: probability must be a number from 0 to 1"),
        (partial(Cutout, targets="yes"), "targets is true or false"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_colors_need_three_channels():
    with pytest.raises(ConfigurationError, match="3 channels are needed, not of 4"):
        ColorJitter(hue=0.1).apply(torch.zeros(1, 4, 4, 4), {"hue": torch.zeros(1)})
