"""Encoders of depth and of point clouds: what they ignore, what they refuse, and that they learn."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from forehand import Sensor, registry
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError

SENSORS = (
    Sensor("depth", "depth", (16, 16), "uint16", unit="mm"),
    Sensor("cloud", "point_cloud", (None, 3), "float32", most=24),
    Sensor("force", "vector", (6,), "float32"),
    Sensor("tiny", "depth", (4, 4), "float32", unit="m"),
)
SENSING = replace(CONTRACT, sensors=SENSORS)


def make(name, **options):
    torch.manual_seed(0)
    return registry().create("encoder", name, contract=SENSING, dim=16, image_size=32, **options)


def fitted(encoder, key, inputs, wanted, steps=60):
    """The error of a linear readout of the encoder's first token, before and after training on a few samples."""
    torch.manual_seed(0)
    readout = nn.Linear(16, wanted.shape[1])
    optimizer = torch.optim.Adam([*encoder.parameters(), *readout.parameters()], lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(readout(next(iter(encoder({key: inputs}).values()))[:, 0]), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses[0], losses[-1]


def test_depth_cnn_learns_where_something_stands_and_how_far_away():
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(2, 13, (24, 2), generator=generator)
    distance = torch.rand(24, generator=generator) + 0.3
    depth = torch.full((24, 16, 16), 2.0)
    for image, (row, column), metres in zip(depth, places.tolist(), distance.tolist(), strict=True):
        image[row - 2 : row + 3, column - 2 : column + 3] = metres
    wanted = torch.cat([places / 8 - 1, distance[:, None]], dim=1)
    before, after = fitted(make("depth_cnn", sensors=["depth"]), "sensors.depth", depth, wanted)
    assert after < 0.1 * before
    assert after < 0.1 * float(wanted.var(dim=0).mean())


def test_depth_that_was_not_measured_is_told_from_depth_that_is_near():
    encoder = make("depth_cnn", sensors=["depth"], near=0.1, far=4.0)
    channels = encoder.channels(torch.tensor([[[0.0, 0.05, 0.1, 4.0, 9.0]]]))
    assert channels.isfinite().all()
    torch.testing.assert_close(channels[0, 0, 0], torch.tensor([0.0, -1.0, -1.0, 1.0, 1.0]))
    assert channels[0, 1, 0].tolist() == [0, 1, 1, 1, 1]


def test_an_image_without_any_depth_gives_finite_tokens_and_gradients():
    encoder = make("depth_cnn", sensors=["depth"])
    tokens = encoder({"sensors.depth": torch.zeros(2, 16, 16)})["depth"]
    tokens.sum().backward()
    assert tokens.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sensors": ["dept"]}, "no sensor 'dept'.*Did you mean 'depth'"),
        ({"sensors": ["cloud"]}, "is a point_cloud, and a depth is needed"),
        ({"sensors": ["tiny"]}, "fewer than 8"),
        ({"sensors": ["depth"], "near": 0.0}, "0 < near < far"),
        ({"sensors": ["depth"], "far": 0.1}, "0 < near < far"),
    ],
)
def test_depth_cnn_refuses_what_it_cannot_read(options, words):
    with pytest.raises(ConfigurationError, match=f"depth_cnn: .*{words}"):
        make("depth_cnn", **options)


def clouds(count=24, points=24):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, points, 3, generator=generator), generator


def test_pointnet_learns_the_shape_of_a_cloud():
    points, generator = clouds()
    size = torch.rand(24, 1, generator=generator) + 0.5
    shell = F.normalize(points, dim=-1) * size[:, None]
    before, after = fitted(make("pointnet", sensor="cloud"), "sensors.cloud", shell, size)
    assert after < 0.1 * before
    assert after < 0.1 * float(size.var())


def test_pointnet_does_not_depend_on_the_order_of_points():
    encoder, (cloud, generator) = make("pointnet", sensor="cloud"), clouds(2)
    turned = cloud[:, torch.randperm(24, generator=generator)]
    assert not torch.equal(turned, cloud)
    tokens, again = (encoder({"sensors.cloud": c})["cloud"] for c in (cloud, turned))
    torch.testing.assert_close(tokens, again)
    assert not torch.allclose(tokens, encoder({"sensors.cloud": cloud + 0.5})["cloud"])


def test_rows_of_nan_are_no_points():
    encoder, (cloud, _) = make("pointnet", sensor="cloud"), clouds(2)
    padded = cloud.clone()
    padded[:, 10:] = torch.nan
    tokens = encoder({"sensors.cloud": padded})["cloud"]
    torch.testing.assert_close(tokens, encoder({"sensors.cloud": cloud[:, :10]})["cloud"])
    tokens.sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_a_cloud_without_points_gives_finite_tokens():
    encoder = make("pointnet", sensor="cloud")
    nothing = encoder({"sensors.cloud": torch.full((1, 24, 3), torch.nan)})["cloud"]
    assert nothing.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"sensor": "cloud"}, "is a point_cloud, and a vector is needed"), ({"sensor": "force", "scale": 0.0}, "scale")],
)
def test_vector_mlp_refuses_what_it_cannot_read(options, words):
    with pytest.raises(ConfigurationError, match=f"vector_mlp: .*{words}"):
        make("vector_mlp", **options)


def test_vector_mlp_learns_how_strong_a_force_is():
    force = 5 * torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    wanted = force[:, :3].norm(dim=1, keepdim=True) / 5
    before, after = fitted(make("vector_mlp", sensor="force", scale=5.0, width=64), "sensors.force", force, wanted, 200)
    assert after < 0.1 * before
    assert after < 0.1 * float(wanted.var(dim=0).mean())


def test_vector_mlp_is_given_numbers_near_one():
    one, five = (make("vector_mlp", sensor="force", scale=scale) for scale in (1.0, 5.0))
    force = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(one({"sensors.force": force}), five({"sensors.force": 5 * force}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sensor": "depth"}, "is a depth, and a point_cloud is needed"),
        ({"sensor": "cloud", "widths": []}, "widths are positive numbers"),
    ],
)
def test_pointnet_refuses_what_it_cannot_read(options, words):
    with pytest.raises(ConfigurationError, match=f"pointnet: .*{words}"):
        make("pointnet", **options)
