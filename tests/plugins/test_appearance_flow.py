"""The present picture, moved and painted, is the forecast."""

import sys

import pytest
import torch
from tests.child_process import run_child

from forehand import registry
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError

SIZE = 32


def make(**options):
    given = {"contract": CONTRACT, "dim": 16, "image_size": SIZE, "cameras": ["static"], "grid": 4}
    return registry().create("world_model", "appearance_flow", **given, **options).eval()


@pytest.fixture
def picture():
    return torch.randint(0, 256, (1, SIZE, SIZE, 3), generator=torch.Generator().manual_seed(0)).byte()


def with_maps(model, flow=(0.0, 0.0), amount=-20.0, paint=(0.0, 0.0, 0.0)):
    """``model`` whose maps are the same everywhere, whatever its queries read."""
    last = model.maps[0][3]
    values = torch.tensor([*flow, amount, *paint])
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(values.repeat_interleave(len(last.bias) // len(values)))
    return model


def test_without_flow_or_paint_the_scene_stands_still(picture):
    forecast = with_maps(make()).decode_images(torch.randn(1, 2, 16), {"static": picture})
    assert torch.equal(forecast["static"], picture)


def test_flow_says_where_in_the_present_a_place_of_the_future_is(picture):
    pixels = 4
    model = with_maps(make(), flow=(2 * pixels / SIZE / 0.5, 0.0))
    forecast = model.decode_images(torch.randn(1, 2, 16), {"static": picture})["static"]
    assert torch.equal(forecast[:, :, :-pixels], picture[:, :, pixels:])
    assert torch.equal(forecast[:, :, -pixels:], picture[:, :, -1:].expand(-1, -1, pixels, -1))  # the border goes on


def test_paint_covers_what_is_nowhere_in_the_present(picture):
    model = with_maps(make(), amount=20.0, paint=(20.0, -20.0, -20.0))
    forecast = model.decode_images(torch.randn(1, 2, 16), {"static": picture})["static"]
    assert (forecast == torch.tensor([255, 0, 0])).all()


def test_a_perfect_forecast_costs_nothing_and_only_valid_timesteps_count():
    model = with_maps(make())
    now = torch.randint(0, 256, (2, 3, SIZE, SIZE, 3)).byte()
    then = now.clone()
    then[0, 1] = 255 - then[0, 1]
    valid = torch.ones(2, 3, dtype=torch.bool)
    target = {"present.static": now, "future.static": then}
    readout = torch.randn(2, 3, 2, 16)
    assert model.loss(readout, target, valid)["foresight"] > 0.1
    valid[0, 1] = False
    assert model.loss(readout, target, valid)["foresight"] < 1e-10


def test_motion_is_learned():
    """One query says left, the other right: the loss falls far below that of a still picture."""
    torch.manual_seed(0)
    model = make().train()
    squares = torch.full((8, 1, SIZE, SIZE, 3), 200).byte()
    squares[:, :, 12:20, 12:20] = 30
    way = torch.tensor([-1, 1] * 4)
    then = torch.stack([squares[i].roll(3 * int(way[i]), dims=2) for i in range(8)])
    readout = way.float()[:, None, None, None].expand(-1, 1, 2, 16)
    target, valid = {"present.static": squares, "future.static": then}, torch.ones(8, 1, dtype=torch.bool)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(150):
        loss = model.loss(readout, target, valid)["foresight"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_training_paints_only_a_share_of_the_timesteps():
    model = make(loss_fraction=0.3).train()
    read = []
    model.maps[0].register_forward_hook(lambda _, given, __: read.append(len(given[0])))
    images = torch.randint(0, 256, (2, 4, SIZE, SIZE, 3)).byte()
    target = {"present.static": images, "future.static": images.flip(2)}
    model.loss(torch.randn(2, 4, 2, 16), target, torch.ones(2, 4, dtype=torch.bool))
    model.eval()
    model.loss(torch.randn(2, 4, 2, 16), target, torch.ones(2, 4, dtype=torch.bool))
    assert read == [3, 8]  # 0.3 of 8 timesteps, rounded up; all of them where nothing is drawn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ["overhead"]}, "no camera 'overhead'"),
        ({"image_size": 30}, "multiple of 4"),
        ({"loss_fraction": 0.0}, "above 0 and at most 1"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        registry().create(
            "world_model",
            "appearance_flow",
            **{"contract": CONTRACT, "dim": 16, "image_size": SIZE, "cameras": ["static"], **options},
        )


BACKWARD = """
import torch
from forehand import registry
from forehand.conformance.example import CONTRACT

flow = registry().create("world_model", "appearance_flow", contract=CONTRACT, dim=16, image_size=32, cameras=["static"])
readout = torch.randn(4, 2, 2, 16)
readout[1] = float("nan")
images = torch.zeros(4, 2, 32, 32, 3, dtype=torch.uint8)
target = {"present.static": images, "future.static": images}
loss = flow.loss(readout.requires_grad_(), target, torch.ones(4, 2, dtype=torch.bool))["foresight"]
loss.backward()
print(loss.item())
"""


@pytest.mark.slow
def test_a_readout_that_is_not_a_number_costs_no_process():
    ended = run_child([sys.executable, "-c", BACKWARD])
    assert (ended.returncode, ended.stdout.split()) == (0, ["nan"]), ended.stderr
