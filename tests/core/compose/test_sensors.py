"""Sensors beside cameras in a composed policy: what encoders are given, in training and in sessions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from forehand import Sensor, registry
from forehand.compose import Encoder, TokenGroup
from forehand.conformance import assert_policy_conforms, example
from forehand.conformance.example import CONTRACT
from forehand.errors import ContractMismatch, NotFinite

DEPTH = Sensor("depth", "depth", (8, 8), "uint16", unit="mm")
CLOUD = Sensor("cloud", "point_cloud", (None, 3), "float32", most=6)
UNREAD = Sensor("force", "vector", (3,), "float32")


class Sensing(Encoder):
    """One token from the mean of what is measured, in metres and without what is no point; it notes what it is given."""

    def __init__(self, *, contract, dim, image_size):
        super().__init__()
        self.inputs = ("sensors.depth", "sensors.cloud")
        self.groups = (TokenGroup("sensing", 1),)
        self.project = torch.nn.Linear(2, dim)
        self.given: dict[str, torch.Tensor] = {}

    def forward(self, inputs):
        self.given = dict(inputs)
        means = [inputs["sensors.depth"].flatten(1).mean(1), inputs["sensors.cloud"].flatten(1).nanmean(1).nan_to_num()]
        return {"sensing": self.project(torch.stack(means, dim=1))[:, None]}


@pytest.fixture(scope="module", autouse=True)
def _registered(example_parts):
    registry().add("encoder", "test/sensing", Sensing, "what a test measures")


@pytest.fixture
def sensing(make_policy):
    contract = replace(CONTRACT, sensors=(DEPTH, CLOUD, UNREAD))
    return make_policy({"encoders.sensing": {"name": "test/sensing"}}, contract)


def test_a_policy_asks_for_the_sensors_that_its_encoders_read(sensing, make_policy):
    assert sensing.contract.sensors == (DEPTH, CLOUD)
    assert sensing.window["sensors"] == ["depth", "cloud"]
    assert make_policy().window["sensors"] == []


def test_a_policy_with_sensors_conforms(sensing):
    assert_policy_conforms(lambda: sensing)


def test_encoders_get_metres_and_full_clouds_in_a_session_as_in_training(sensing, window):
    random = np.random.default_rng(0)
    seen = [example.observation(sensing.contract, random, i / 15) for i in range(4)]
    session = sensing.open("lift the red block")
    for observation in seen:
        sensing.step([session], [observation])
        depth, cloud = (sensing.encoders["sensing"].given[key] for key in sensing.encoders["sensing"].inputs)
        np.testing.assert_allclose(depth[0].numpy(), observation.sensors["depth"] / 1000, rtol=1e-6)
        np.testing.assert_array_equal(cloud[0].numpy(), CLOUD.padded(observation.sensors["cloud"]))
    batch = {
        **window["observation"],
        **{
            f"sensors.{s.name}": torch.from_numpy(np.stack([s.padded(o.sensors[s.name]) for o in seen]))
            for s in (DEPTH, CLOUD)
        },
    }
    batch = {k: v[None] if k.startswith("sensors.") else v[:1] for k, v in batch.items()}
    with torch.no_grad():
        sensing.readouts(batch)
    given = sensing.encoders["sensing"].given
    np.testing.assert_allclose(given["sensors.depth"][-1].numpy(), depth[0].numpy())
    np.testing.assert_array_equal(given["sensors.cloud"][-1].numpy(), cloud[0].numpy())


def test_a_sensor_that_is_missing_or_not_finite_changes_no_session(sensing):
    random = np.random.default_rng(0)
    good = example.observation(sensing.contract, random, 0.0)
    session = sensing.open("lift")
    for sensors, error in (
        ({"depth": good.sensors["depth"]}, ContractMismatch),
        ({**good.sensors, "cloud": np.full((2, 3), np.inf, np.float32)}, NotFinite),
    ):
        with pytest.raises(error, match="sensor 'cloud'"):
            sensing.step([session], [replace(good, sensors=sensors)])
        assert not session.frames
