"""States and actions become numbers near -1 and 1, and the same numbers again."""

import numpy as np
import pytest
import torch

from forehand import Field
from forehand.compose.normalization import METHODS, Normalization, Normalizer
from forehand.errors import ConfigurationError

FIELDS = (Field("arm", 2, low=(-2.0, 0.0), high=(2.0, 1.0)), Field("gripper", 1, low=(0.0,), high=(0.08,)))
STATISTICS = {
    "mean": [1.0, 2.0, 0.01],
    "std": [2.0, 4.0, 0.02],
    "min": [-1.0, 0.0, 0.0],
    "max": [3.0, 10.0, 0.04],
    "q01": [-0.5, 1.0, 0.01],
    "q99": [2.5, 9.0, 0.03],
}
ENDS = {  # what becomes -1, and what becomes 1
    "none": ([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]),
    "mean_std": ([-1.0, -2.0, -0.01], [3.0, 6.0, 0.03]),
    "min_max": (STATISTICS["min"], STATISTICS["max"]),
    "quantiles": (STATISTICS["q01"], STATISTICS["q99"]),
    "limits": ([-2.0, 0.0, 0.0], [2.0, 1.0, 0.08]),
}


def test_every_method_has_a_reference():
    assert set(ENDS) == set(METHODS)


@pytest.mark.parametrize("method", ENDS)
def test_the_ends_of_a_method_become_one(method):
    normalizer, ends = Normalizer(method, FIELDS, STATISTICS, "the state"), torch.tensor(ENDS[method])
    one = torch.ones(3)
    torch.testing.assert_close(normalizer(ends), torch.stack([-one, one]))
    torch.testing.assert_close(normalizer.inverse(torch.stack([-one, one])), ends)


@pytest.mark.parametrize("method", ENDS)
def test_the_inverse_gives_back_what_was_normalized(method):
    normalizer = Normalizer(method, FIELDS, STATISTICS, "the state")
    values = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalizer.inverse(normalizer(values)), values)


@pytest.mark.parametrize("method", ["mean_std", "min_max", "quantiles", "limits"])
def test_elements_that_do_not_vary_are_shifted_and_not_scaled(method):
    constant = {name: [5.0, 5.0] for name in STATISTICS} | {"std": [0.0, 9.9e-5]}
    fields = (Field("arm", 2, low=(5.0, 5.0), high=(5.0, 5.0)),)
    normalizer = Normalizer(method, fields, constant, "the state")
    assert normalizer(torch.tensor([5.0, 5.001])).tolist() == pytest.approx([0.0, 0.001], abs=1e-6)


def test_center_and_scale_are_kept_with_the_weights():
    normalizer = Normalizer("mean_std", FIELDS, STATISTICS, "the state")
    stored = normalizer.state_dict()
    assert {name: (t.tolist(), t.dtype) for name, t in stored.items()} == {
        "center": (np.float32(STATISTICS["mean"]).tolist(), torch.float32),
        "scale": (np.float32(STATISTICS["std"]).tolist(), torch.float32),
    }


@pytest.mark.parametrize("method", ENDS)
def test_data_without_actions_need_no_statistics_of_them(method):
    assert Normalizer(method, (), {}, "the action")(torch.empty(2, 0)).shape == (2, 0)


@pytest.mark.parametrize(
    ("method", "fields", "statistics", "message"),
    [
        ("min-max", FIELDS, STATISTICS, "unknown normalization 'min-max' of the state.*'min_max'"),
        ("quantiles", FIELDS, {"min": [0.0] * 3}, "the state needs the dataset's statistic 'q01', which it lacks"),
        ("limits", (Field("arm", 3),), STATISTICS, "'limits' of the state: the contract states no range for 'arm'"),
        ("limits", (Field("arm", 1, low=(0.0,)),), STATISTICS, "the contract states no range for 'arm'"),
    ],
)
def test_what_cannot_be_normalized_is_named(method, fields, statistics, message):
    with pytest.raises(ConfigurationError, match=message):
        Normalizer(method, fields, statistics, "the state")


# ---- settings ----------------------------------------------------------------------------------------------------------


def test_a_name_stands_for_a_method_without_settings():
    assert Normalization.read("quantiles", "the action") == Normalization.read({"method": "quantiles"}, "the action")
    assert Normalization.read("quantiles", "the action") == Normalization(method="quantiles", clip=None, per_step=False)


def test_what_is_clipped_stays_within_in_both_directions():
    settings = Normalization.read({"method": "quantiles", "clip": 1.5}, "the state")
    normalizer = Normalizer(settings, FIELDS, STATISTICS, "the state")
    low, high = np.array(STATISTICS["q01"]), np.array(STATISTICS["q99"])
    center, half = (low + high) / 2, (high - low) / 2
    values = torch.tensor(np.stack([center + 9 * half, center + half, center - 1.6 * half]), dtype=torch.float32)
    np.testing.assert_allclose(normalizer(values)[:, 0], [1.5, 1.0, -1.5], rtol=1e-6)
    beyond = normalizer.inverse(torch.tensor([[7.0, 0.5, -2.0]]))
    np.testing.assert_allclose(beyond[0], center + np.array([1.5, 0.5, -1.5]) * half, rtol=1e-6)


def test_each_step_of_a_chunk_has_its_own_center_and_scale():
    generator = np.random.default_rng(0)
    chunks = generator.normal(size=(50, 4, 3)) * [[1], [2], [4], [8]] + np.arange(4)[:, None]
    statistics = {name: np.quantile(chunks, q, axis=0) for name, q in (("q01", 0.01), ("q99", 0.99))}
    normalizer = Normalizer("quantiles", FIELDS, statistics, "the action")
    normalized = normalizer(torch.tensor(chunks, dtype=torch.float32)[:, None])  # (B, T, H, A)
    for name, end in (("q01", -1), ("q99", 1)):
        its = torch.tensor(statistics[name], dtype=torch.float32)
        torch.testing.assert_close(normalizer(its), torch.full((4, 3), float(end)))
    torch.testing.assert_close(normalizer.inverse(normalized)[:, 0], torch.tensor(chunks, dtype=torch.float32))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "quantile"}, "unknown normalization 'quantile' of the action.*'quantiles'"),
        ({"clip": 1.0}, "unknown normalization None of the action"),
        ({"method": "none", "clp": 1}, "of the action: there is no option 'clp'. Did you mean 'clip'"),
        ({"method": "min_max", "clip": 0}, "clip must be a positive number or null, not 0"),
        ({"method": "min_max", "clip": True}, "clip must be a positive number or null, not True"),
        ({"method": "min_max", "per_step": 1}, "per_step must be true or false, not 1"),
        ({"method": "limits", "per_step": True}, "'limits' takes no statistics, so leave per_step out"),
    ],
)
def test_settings_that_cannot_be_are_named(config, message):
    with pytest.raises(ConfigurationError, match=message):
        Normalization.read(config, "the action")
