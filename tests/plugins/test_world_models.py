"""World models forecast a square that moves, closer to its future than the present frame is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from forehand import registry
from forehand.compose import DecodesFeatures, DecodesImages, FeatureShape
from forehand.conformance import assert_policy_conforms
from forehand.conformance.example import CONTRACT
from forehand.contracts.sensor import Sensor
from forehand.data.dataset import Dataset
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError
from forehand.learning.checkpoint import build_policy
from forehand_plugins.world_models.image_tokenizer import FiniteScalarQuantization

SIZE, DIM, QUERIES, GRID, WIDTH = 16, 32, 2, 4, 8
HORIZONS = (1, 2)
TOWERS = {"colour": FeatureShape((GRID, GRID), WIDTH)}
NAMES = ["latent", "pixels", "discrete_tokens"]
OPTIONS = {
    "latent": {"tower": "colour", "towers": TOWERS},
    "pixels": {"width": 32, "doublings": 2},
    "discrete_tokens": {"levels": [8, 5], "patch": 4},
}


def make(name, **options):
    given = {"contract": CONTRACT, "dim": DIM, "image_size": SIZE, "cameras": ["static"], "queries": QUERIES}
    return registry().create("world_model", name, **{**given, **OPTIONS[name], **options})


def features(images):
    """(..., H, W, 3) → (..., P + 1, W): a random linear map of each patch's mean colour, and the mean of them all."""
    pixels = images.flatten(0, -4).permute(0, 3, 1, 2).float() / 255
    mixing = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    patches = F.adaptive_avg_pool2d(pixels, GRID).flatten(2).mT @ mixing
    return torch.cat([patches, patches.mean(dim=1, keepdim=True)], dim=1).unflatten(0, images.shape[:-3])


def draw(x, y):
    image = torch.tensor([150, 200, 180]).byte().repeat(SIZE, SIZE, 1)
    image[y : y + 4, x : x + 4] = torch.tensor([220, 40, 10]).byte()
    return image


@pytest.fixture
def world():
    """Random readouts, one for each place and way of a square; images now and at HORIZONS; what counts."""
    torch.manual_seed(0)
    places = [(x, y, way) for x in (4, 8) for y in (2, 6, 10) for way in (-2, 2)]
    now = torch.stack([draw(x, y) for x, y, _ in places])[:, None]
    future = torch.stack([torch.stack([draw(x + way * h, y) for h in HORIZONS]) for x, y, way in places])[:, None]
    readout = torch.randn(len(places), 1, QUERIES, DIM)
    target = {"present.static": now, "future.static": future}
    target |= {f"{time}.features.colour.static": features(target[f"{time}.static"]) for time in ("present", "future")}
    return readout, target, torch.ones(len(places), 1, len(HORIZONS), dtype=torch.bool)


def fit(model, world, steps):
    optimizer = torch.optim.Adam(model.train().parameters(), lr=5e-3)
    for _ in range(steps):
        terms = model.loss(*world)
        loss = sum(weight * terms[name] for name, weight in model.weights.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("pixels", 60), ("discrete_tokens", 120)])
def test_images_are_forecast_closer_than_the_present_is(name, steps, world):
    model = fit(make(name, horizon=HORIZONS), world, steps)
    readout, target, _ = world
    shown = model.decode_images(readout[:, 0], {"static": target["present.static"][:, 0]})["static"]
    future = target["future.static"][:, 0]
    error = (shown.float() - future).square().mean(dim=(0, 2, 3, 4))
    still = (target["present.static"].float() - future).square().mean(dim=(0, 2, 3, 4))
    assert (error < 0.5 * still).all(), (error, still)


CONVOLUTION = {"decoder": "convolution", "features": "patches"}


@pytest.mark.parametrize("options", [{}, {"loss": "cosine"}, {"residual": False}, CONVOLUTION])
def test_features_are_forecast_closer_than_the_present_is(options, world):
    model = fit(make("latent", **({"horizon": HORIZONS, "features": "both"} | options)), world, 80)
    readout, target, _ = world
    now, then = (target[f"{time}.features.colour.static"][:, 0] for time in ("present", "future"))
    shown = model.decode_features(readout[:, 0], {"colour.static": now})["colour.static"]
    future = F.layer_norm(then[..., :-1, :], [WIDTH]).unflatten(-2, (GRID, GRID))
    present = F.layer_norm(now[:, None, :-1], [WIDTH]).unflatten(-2, (GRID, GRID))
    error, still = ((a - future).square().mean(dim=(0, 2, 3, 4)) for a in (shown, present))
    assert (error < 0.5 * still).all(), (error, still)


def test_a_change_of_nothing_is_the_present_at_every_horizon(world):
    model = make("latent", horizon=HORIZONS).eval()
    torch.nn.init.zeros_(model.predict.weight)
    readout, target, valid = world
    now = target["present.features.colour.static"]
    shown = model.decode_features(readout[:, 0], {"colour.static": now[:, 0]})["colour.static"]
    expected = F.layer_norm(now[:, 0, :-1], [WIDTH]).unflatten(-2, (GRID, GRID))[:, None].expand_as(shown)
    torch.testing.assert_close(shown, expected)
    still = {**target, "future.features.colour.static": now[:, :, None].expand(-1, -1, len(HORIZONS), -1, -1)}
    assert model.loss(readout, still, valid)["foresight"] < 1e-10 < model.loss(readout, target, valid)["foresight"]


@pytest.mark.parametrize("loss", ["smooth_l1", "cosine"])
def test_size_and_offset_of_features_do_not_count(loss, world):
    model = make("latent", horizon=HORIZONS, loss=loss).eval()
    readout, target, valid = world
    scaled = {key: 5 * value + 3 if ".features." in key else value for key, value in target.items()}
    one, other = (model.loss(readout, of, valid)["foresight"] for of in (target, scaled))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_whole_is_compared_and_cannot_be_shown(world):
    model = make("latent", horizon=HORIZONS, features="whole").eval()
    readout, target, valid = world
    assert model.decode_features(readout[:, 0], {}) == {}
    name = "future.features.colour.static"
    patches, whole = target[name].clone(), target[name].clone()
    patches[..., :-1, :] = torch.randn_like(patches[..., :-1, :])
    whole[..., -1, :] = torch.randn_like(whole[..., -1, :])
    before, same, other = (model.loss(readout, {**target, name: of}, valid) for of in (target[name], patches, whole))
    assert before["foresight"] == same["foresight"] != other["foresight"]


@pytest.mark.parametrize("name", NAMES)
def test_one_horizon_has_no_axis_of_its_own(name, world):
    readout, target, valid = world
    model, several = make(name, horizon=[2]).eval(), make(name, horizon=HORIZONS).eval()
    assert (model.horizon, several.horizon) == (2, HORIZONS)
    later = {key: value[:, :, 1] if key.startswith("future.") else value for key, value in target.items()}
    assert torch.isfinite(model.loss(readout, later, valid[..., 1])["foresight"])
    now = {"colour.static": target["present.features.colour.static"][:, 0]}
    for each, lead in ((model, (len(readout),)), (several, (len(readout), 2))):
        if name == "latent":
            assert isinstance(each, DecodesFeatures)
            assert each.decode_features(readout[:, 0], now)["colour.static"].shape == (*lead, GRID, GRID, WIDTH)
        else:
            assert isinstance(each, DecodesImages)
            assert each.decode_images(readout[:, 0], {})["static"].shape == (*lead, SIZE, SIZE, 3)


def test_every_code_is_restored_and_every_level_is_reached():
    quantize = FiniteScalarQuantization([4, 3, 2])
    codes = torch.arange(24)
    levels = quantize.from_codes(codes)
    assert torch.equal(quantize.to_codes(levels), codes)
    assert len(levels.unique(dim=0)) == 24
    assert torch.equal(quantize(torch.atanh(0.999 * levels)), levels)
    numbers = torch.linspace(-4, 4, 100)[:, None].expand(-1, 3)
    assert [len(column.round(decimals=3).unique()) for column in quantize(numbers).T] == [4, 3, 2]


def test_gradients_pass_the_rounding_unchanged():
    numbers = torch.tensor([[-1.5, 0.2, 0.9]], requires_grad=True)
    FiniteScalarQuantization([4, 3, 2])(numbers).sum().backward()
    torch.testing.assert_close(numbers.grad, 1 - torch.tanh(numbers.detach()).square())


def test_codes_are_targets_without_gradient_and_a_frozen_tokenizer_has_no_loss(world):
    model = make("discrete_tokens", horizon=HORIZONS)
    model.loss(*world)["foresight"].backward()
    assert all(p.grad is None for p in model.tokenizer.parameters())
    model.loss(*world)["reconstruction"].backward()
    assert all(p.grad is not None for p in model.tokenizer.parameters())
    frozen = make("discrete_tokens", horizon=HORIZONS, train_tokenizer=False)
    assert set(frozen.weights) == set(frozen.loss(*world)) == {"foresight"}
    assert not any(p.requires_grad for p in frozen.tokenizer.parameters())


FORCE = Sensor("force", "vector", (3,), "float32", unit="N")
STATE_POLICY = {
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 32,
    "encoders": {"text": {"name": "ngram_text"}, "state": {"name": "state_mlp"}},
    "backbone": {"name": "transformer", "layers": 1, "heads": 2, "dropout": 0.0},
    "world_model": {"name": "state", "horizon": [1, 3]},
    "action_head": {"name": "chunk_regression", "chunk": 2},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past"},
    },
    "normalization": {"state": "mean_std", "action": "mean_std"},
}


def test_a_policy_forecasts_its_own_state(slider_dataset, tmp_path):
    data = Dataset.open(slider_dataset)
    torch.manual_seed(0)
    policy = build_policy(STATE_POLICY, data.contract, data.statistics)
    windows = WindowDataset(data, policy.window, cache=tmp_path)
    batch = windows.batch(range(len(windows)))
    assert not any(key.startswith("future") for key in batch["target"])
    first = windows.batch([0])["target"]["state"][0, 1]  # of the second timestep: now, 1 and 3 steps later
    torch.testing.assert_close(first, torch.from_numpy(data.episodes.states[[1, 2, 4]]))
    optimizer = torch.optim.Adam(policy.train().parameters(), lr=5e-3)
    errors = []
    for _ in range(60):
        loss, terms = policy(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(terms["foresight"].item())
    assert errors[-1] < 0.3 * errors[0]  # at first, it forecasts that nothing changes
    present = build_policy({**STATE_POLICY, "foresight_control": "present_frame"}, data.contract, data.statistics)
    assert present(batch)[1]["foresight"] < 0.1 * errors[0]


def test_a_robot_without_the_sensor_runs_a_policy_that_forecasts_it():
    config = {**STATE_POLICY, "world_model": {"name": "state", "vector": "sensors.force", "size": 3, "scale": 5.0}}
    unit = {name: {"mean": np.zeros(7), "std": np.ones(7)} for name in ("observation.state", "action")}
    policy = build_policy(config, replace(CONTRACT, sensors=(FORCE,)), unit)
    assert policy.window["targets"] == {"sensors.force": [0, 3]}
    assert policy.contract.sensors == ()
    assert_policy_conforms(lambda: build_policy(config, policy.contract, unit).eval())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vector": "sensors.force"}, "size must be the number of elements of 'sensors.force'.*it has 3"),
        ({"vector": "sensors.force", "size": 4}, "not 4. In the data's contract it has 3"),
        ({"vector": "force"}, "no vector 'force'.*'sensors.force'"),
        ({"size": 3}, "the state has 7 numbers, not 3"),
        ({"scale": 0}, "scale"),
        ({"queries": 0}, "queries must be 1 or more"),
    ],
)
def test_vectors_that_cannot_be_are_refused(options, message):
    given = {"contract": replace(CONTRACT, sensors=(FORCE,)), "dim": DIM, "image_size": SIZE}
    with pytest.raises(ConfigurationError, match=message):
        registry().create("world_model", "state", **given, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *((name, {"cameras": ["overhead"]}, "no camera 'overhead'") for name in NAMES),
        *((name, {"horizon": horizon}, "ascending order") for name in NAMES for horizon in (0, [], [3, 1], [1, 1])),
        ("latent", {"tower": "color"}, "none called 'color'.*'colour'"),
        ("latent", {"loss": "cosinus"}, "unknown loss 'cosinus'.*'cosine'"),
        ("latent", {"features": "all"}, "unknown features 'all'"),
        ("latent", {"decoder": "convolutions"}, "unknown decoder 'convolutions'.*'convolution'"),
        ("latent", {"decoder": "convolution", "features": "both"}, "set features=patches"),
        ("latent", {"heads": 5}, "multiple of its 5 heads"),
        ("discrete_tokens", {"layers": 0}, "layers must be 1 or more"),
        ("discrete_tokens", {"patch": 5}, "multiple of its patch of 5 pixels"),
        ("discrete_tokens", {"levels": [8, 1]}, "numbers of 2 or more"),
        ("pixels", {"doublings": 5}, "2 to the power of doublings"),
    ],
)
def test_what_cannot_be_is_refused(name, options, message):
    if "tower" in options:
        from forehand.compose.towers import FeatureShapes

        options = {**options, "towers": FeatureShapes(TOWERS)}
    with pytest.raises(ConfigurationError, match=message):
        make(name, **options)
