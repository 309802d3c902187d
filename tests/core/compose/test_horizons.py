"""Horizons that are no numbers of control steps end in an error that names the part."""

import pytest

from forehand.compose.horizons import read_horizon, single_horizon
from forehand.errors import ConfigurationError


@pytest.mark.parametrize("horizon", [0, -1, True, 1.5, None, "3", [], [2, 1], [1, 1], [1, True], [1, 2.0]])
@pytest.mark.parametrize("read", [read_horizon, single_horizon])
def test_what_is_no_horizon_is_refused(read, horizon):
    with pytest.raises(ConfigurationError, match="pixels: horizon is a number of control steps"):
        read("pixels", horizon)


def test_several_horizons_are_for_those_that_forecast_several():
    assert (read_horizon("pixels", 3), read_horizon("pixels", [3])) == (3, 3)
    assert read_horizon("pixels", [1, 4]) == (1, 4)
    assert (single_horizon("flow", 3), single_horizon("flow", [3])) == (3, 3)
    with pytest.raises(ConfigurationError, match="flow: it forecasts one horizon"):
        single_horizon("flow", [1, 4])
