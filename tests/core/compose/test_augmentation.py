"""Images are changed in training, by what torch's generator gives; targets like the same frames of the input."""

import pytest
import torch
import torch.nn.functional as F

from forehand.compose.augmented_windows import Augmentations
from forehand.compose.random_shift import Shift
from forehand.conformance import assert_augmentation_conforms
from forehand.errors import ConfigurationError, UnknownName

BATCH, STEPS, AHEAD = 3, 4, 2


def former_shift(images, pixels):
    """The random shift of releases before augmentations were parts, on (N, H, W, C)."""
    n, height, width, _ = images.shape
    shift = torch.randint(-pixels, pixels + 1, (2, n, 1))
    rows = (torch.arange(height) + shift[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + shift[1]).clamp(0, width - 1)
    return images[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def every_shift(image, pixels):
    """All pictures that an image (H, W, C) may become, by their shift."""
    height, width, _ = image.shape
    planes = image.permute(2, 0, 1)[None].float()
    padded = F.pad(planes, (pixels,) * 4, mode="replicate")[0].permute(1, 2, 0).to(image.dtype)
    return {(i, j): padded[i : i + height, j : j + width] for i in range(2 * pixels + 1) for j in range(2 * pixels + 1)}


@pytest.fixture
def frames():
    """All frames of a batch of windows, inputs and what lies ahead: (B, T + k, H, W, C)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (BATCH, STEPS + AHEAD, 8, 6, 3), generator=generator).byte()


@pytest.fixture
def augment(frames):
    """``augment(config, random_shift, horizons)`` → inputs, targets, and the present frames as the target has them."""

    def run(config=None, random_shift=None, horizons=(AHEAD,), seed=0):
        times = torch.arange(STEPS)
        ahead = frames[:, times[:, None] + torch.tensor(horizons)]
        now = frames[:, :STEPS]
        target = {"future.static": ahead if len(horizons) > 1 else ahead[:, :, 0], "present.static": now}
        torch.manual_seed(seed)
        seen, target = Augmentations(config, random_shift, ["static"])({"images.static": now}, target, horizons)
        return seen["images.static"], target["future.static"], target["present.static"]

    return run


def test_each_frame_is_shifted_by_itself_and_its_border_repeated():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (60, 8, 6, 3)).byte()
    part = Shift(pixels=2)
    shifted = part.apply(images, part.draw(60, images.device))
    found = set()
    for image, result in zip(images, shifted, strict=True):
        matches = [shift for shift, expected in every_shift(image, 2).items() if torch.equal(expected, result)]
        assert len(matches) == 1
        found.update(matches)
    assert {i for i, _ in found} == {j for _, j in found} == set(range(5))  # both ends are reached
    assert any(i != j for i, j in found)


def test_random_shift_draws_what_it_drew(frames, augment):
    seen, ahead, present = augment(random_shift={"static": 3})
    torch.manual_seed(0)
    assert torch.equal(seen, former_shift(frames[:, :STEPS].flatten(0, 1), 3).view_as(seen))
    assert torch.equal(present, frames[:, :STEPS])  # targets are as they were
    assert torch.equal(ahead, frames[:, AHEAD:])


def test_no_shift_is_no_change_and_no_draw(frames, augment):
    seen, *_ = augment(random_shift={"static": 0})
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(seen, frames[:, :STEPS])


@pytest.mark.usefixtures("example_parts")
@pytest.mark.parametrize("horizons", [(AHEAD,), (1, AHEAD)])
@pytest.mark.parametrize("how", ["each", "window"])
def test_a_target_is_changed_like_the_same_frame_as_an_input(frames, augment, horizons, how):
    options = {"targets": True, "frames": how}
    darken = {"name": "example/darken", "least": 0.3, **options}
    seen, ahead, present = augment([darken], {"static": {"pixels": [-2, 3], **options}}, horizons)
    assert torch.equal(present, seen)
    assert not torch.equal(seen, frames[:, :STEPS])
    ahead = ahead if len(horizons) > 1 else ahead[:, :, None]
    for number, horizon in enumerate(horizons):
        assert torch.equal(ahead[:, :-horizon, number], seen[:, horizon:])
    levels = seen.flatten(2).float().mean(dim=2) / frames[:, :STEPS].flatten(2).float().mean(dim=2)
    assert (levels.std(dim=1) < 0.05).all() == (how == "window")
    assert levels.mean(dim=1).std() > 0.01  # windows differ


@pytest.mark.usefixtures("example_parts")
def test_targets_are_changed_only_where_that_is_asked_for(frames, augment):
    darken = {"name": "example/darken", "least": 0.3, "frames": "window"}
    seen, ahead, present = augment([darken, {**darken, "targets": True}])
    factors = (present.float().mean(dim=(1, 2, 3, 4)) / frames[:, :STEPS].float().mean(dim=(1, 2, 3, 4))).tolist()
    for row, factor in enumerate(factors):
        wanted = frames[row, AHEAD:].float() * factor
        torch.testing.assert_close(ahead[row].float(), wanted, rtol=0.02, atol=2)
    assert (seen.float().mean() < 0.95 * present.float().mean()).item()


@pytest.mark.usefixtures("example_parts")
def test_some_frames_are_left_as_they_are(frames, augment):
    seen, *_ = augment([{"name": "example/darken", "least": 0.0, "frames": "each", "probability": 0.5}])
    same = (seen == frames[:, :STEPS]).flatten(2).all(dim=2)
    assert 2 < same.sum() < same.numel() - 2


@pytest.mark.usefixtures("example_parts")
def test_an_augmentation_of_a_plugin_conforms():
    from example_parts import Darken

    assert_augmentation_conforms(lambda: Darken(least=0.2))


def test_an_augmentation_that_draws_while_it_is_applied_does_not_conform():
    class Noise(Shift):
        def apply(self, images, draws):
            return (super().apply(images, draws) * (1 - torch.rand(1) / 2)).to(images.dtype)

    with pytest.raises(AssertionError, match="it draws, too"):
        assert_augmentation_conforms(lambda: Noise(pixels=1))


def test_each_camera_has_its_own(make_policy, window):
    darken = [{"name": "example/darken", "least": 0.0}]
    torch.manual_seed(0)
    policy = make_policy({"augmentations": {"wrist": darken, "static": None}})
    seen, _ = policy.augmentations(window["observation"], {}, ())
    assert torch.equal(seen["images.static"], window["observation"]["images.static"])
    assert not torch.equal(seen["images.wrist"], window["observation"]["images.wrist"])
    both, _ = make_policy({"augmentations": darken}).augmentations(window["observation"], {}, ())
    assert not any(torch.equal(both[key], window["observation"][key]) for key in ("images.static", "images.wrist"))


def test_images_are_changed_in_training_only(make_policy, window):
    plain, policy = make_policy(), make_policy({"augmentations": [{"name": "example/darken", "least": 0.0}]})
    with torch.no_grad():
        assert torch.equal(plain(window)[0], policy(window)[0])
        plain.train()
        policy.train()
        assert not torch.equal(plain(window)[0], policy(window)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"random_shift": {"statik": 3}}, "random_shift: .* Did you mean 'static'"),
        ({"random_shift": {"static": {"pixel": 3}}}, "random_shift: there is no option 'pixel'. Did you mean 'pixels'"),
        ({"augmentations": {"static": {"name": "shift"}}}, "augmentations.static must be a list"),
        ({"augmentations": [{"pixels": 3}]}, "without a name"),
        (
            {"augmentations": [{"name": "example/darkn"}]},
            "No plugin offers an augmentation",
        ),
        ({"augmentations": [{"name": "example/darken"}]}, "it needs least"),
        ({"augmentations": {"statik": []}}, "augmentations: the policy has no camera"),
    ],
)
def test_augmentations_that_make_no_sense_are_refused(make_policy, changes, message):
    with pytest.raises((ConfigurationError, UnknownName), match=message):
        make_policy(changes)
