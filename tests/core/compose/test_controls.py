"""Controls of foresight: the future of the own scene is out of reach, and nothing else is different."""

import numpy as np
import pytest
import torch

from forehand.compose.controls import controlled_target
from forehand.conformance import assert_policy_conforms, example
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError

CAMERAS = ["static", "wrist"]
TOWER = {"towers": {"eyes": {"name": "example/patches"}}}
FEATURES = {
    **TOWER,
    "world_model": {"name": "example/future_features", "cameras": CAMERAS, "tower": "eyes", "horizon": [2]},
}
CONTROLS = ["present_frame", "shuffled_future"]


def numbered(count, horizons=()):
    """Windows of two timesteps whose future, at every horizon, holds their number; the first of each has none."""
    number = torch.arange(count).reshape(-1, *[1] * (1 + len(horizons))).expand(-1, 2, *horizons)
    return {
        "future.static": number[..., None],
        "future.features.eyes.static": -number[..., None],
        "future_valid": number >= 1,
        "present.static": torch.arange(count)[:, None, None].expand(-1, 2, 1) + 100,
        "present.features.eyes.static": torch.arange(count)[:, None, None].expand(-1, 2, 1) + 200,
        "valid": torch.ones(count, 2, dtype=torch.bool),
    }


@pytest.mark.parametrize("horizons", [(), (3,)])
@pytest.mark.parametrize("training", [True, False])
def test_each_window_gets_the_future_of_another(horizons, training):
    for seed in range(10):
        torch.manual_seed(seed)
        target = numbered(5, horizons)
        shuffled = controlled_target("shuffled_future", target, training=training)
        other = shuffled["future.static"][:, 0].reshape(5, -1)[:, 0]
        assert sorted(other.tolist()) == list(range(5))
        assert (other != torch.arange(5)).all()
        assert torch.equal(shuffled["future.static"], target["future.static"][other])
        assert torch.equal(shuffled["future.features.eyes.static"], -shuffled["future.static"])
        assert torch.equal(shuffled["future_valid"], shuffled["future.static"][..., 0] >= 1)
        assert all(shuffled[key] is target[key] for key in target if not key.startswith("future"))


def test_the_order_is_drawn_in_training_and_fixed_otherwise():
    def orders(training, seeds):
        drawn = []
        for seed in seeds:
            torch.manual_seed(seed)
            drawn.append(controlled_target("shuffled_future", numbered(8), training=training)["future.static"][:, 0, 0])
        return {tuple(order.tolist()) for order in drawn}

    assert len(orders(True, range(5))) == 5
    assert len(orders(True, [3, 3])) == 1
    assert orders(False, range(5)) == {(7, 0, 1, 2, 3, 4, 5, 6)}


@pytest.mark.parametrize("horizons", [(), (3,)])
def test_the_present_stands_in_for_the_future_and_as_much_counts_as_before(horizons):
    target = numbered(4, horizons)
    seen = controlled_target("present_frame", target, training=True)
    for key in ("static", "features.eyes.static"):
        now, future = target[f"present.{key}"], seen[f"future.{key}"]
        assert future.shape == target[f"future.{key}"].shape
        assert (future == now.reshape(4, 2, *[1] * len(horizons), 1)).all()
    assert torch.equal(seen["future_valid"], target["future_valid"])


def test_nothing_changes_without_a_control():
    target = numbered(3)
    assert controlled_target(None, target, training=True) is target


@pytest.mark.parametrize("changes", [{}, FEATURES])
def test_a_policy_under_a_control_is_compared_with_what_the_control_says(make_policy, window, changes):
    plain = make_policy(changes)
    present, shuffled = (make_policy({**changes, "foresight_control": control}) for control in CONTROLS)
    assert list(present.state_dict()) == list(shuffled.state_dict()) == list(plain.state_dict())

    def foresight(policy, futures):
        target = {**window["target"], **{f"future.{camera}": futures[camera] for camera in CAMERAS}}
        with torch.no_grad():
            return policy({**window, "target": target})[1]["foresight"]

    future = {camera: window["target"][f"future.{camera}"] for camera in CAMERAS}
    now = {camera: window["observation"][f"images.{camera}"] for camera in CAMERAS}
    swapped = {camera: images.flip(0) for camera, images in future.items()}  # in a batch of two
    assert foresight(present, future) == foresight(present, swapped) == foresight(plain, now)
    assert foresight(shuffled, future) == foresight(plain, swapped) != foresight(plain, future)


@pytest.mark.parametrize("control", CONTROLS)
def test_features_computed_beforehand_are_under_the_control_too(make_policy, window, control):
    policy = make_policy({**FEATURES, "foresight_control": control})
    with torch.no_grad():
        computed = policy(window)[1]["foresight"]
        for name in policy.target_features:
            camera = name.partition(".")[2]
            key = f"features.{name}"
            window["observation"][key] = policy.towers.of(key, window["observation"][f"images.{camera}"])
            window["target"][f"future.{key}"] = policy.towers.of(key, window["target"][f"future.{camera}"])
        runs = policy.towers.towers["eyes"].runs
        given = policy(window)[1]["foresight"]
    torch.testing.assert_close(given, computed)
    assert policy.towers.towers["eyes"].runs == runs


@pytest.mark.parametrize("control", CONTROLS)
def test_a_policy_under_a_control_conforms_and_shows_no_forecast(make_policy, control):
    assert_policy_conforms(lambda: make_policy({"foresight_control": control}))
    policy = make_policy({"foresight_control": control})
    seen = example.observation(CONTRACT, np.random.default_rng(0), 0.0)
    (prediction,) = policy.step([policy.open("lift")], [seen], forecast=True)
    assert prediction.forecasts == ()


def test_an_unknown_control_is_refused(make_policy):
    with pytest.raises(ConfigurationError, match=r"no 'present'.*'present_frame'"):
        make_policy({"foresight_control": "present"})


@pytest.mark.parametrize("training", [True, False])
def test_a_window_alone_in_its_batch_gives_no_loss(training):
    assert not controlled_target("shuffled_future", numbered(1), training=training)["future_valid"].any()
