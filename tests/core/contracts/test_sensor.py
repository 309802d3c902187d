"""Sensors beside cameras: what a contract may state of them, how they are compared, and what their arrays must be."""

from dataclasses import replace

import numpy as np
import pytest

from forehand import Camera, Contract, Field, Sensor
from forehand.contracts.compatibility import differences, possible_conversions, require_fit
from forehand.contracts.contract import SCHEMA
from forehand.contracts.conversion import parse
from forehand.errors import ConfigurationError, ContractMismatch, NotFinite

DEPTH = Sensor("depth_static", "depth", (48, 64), "uint16", unit="mm", role="static")
METRES = Sensor("depth_wrist", "depth", (48, 64), "float32", unit="m", role="wrist", rate=5.0)
CLOUD = Sensor("cloud", "point_cloud", (None, 3), "float32", unit="m", frame="base", most=32)
FORCE = Sensor("force", "vector", (6,), "float32", unit="N")
SENSORS = (DEPTH, METRES, CLOUD, FORCE)
PLAIN = Contract((Camera("static", 48, 64, "static"),), (Field("joints", 2),), (Field("joints", 2),), 15.0)
CONTRACT = replace(PLAIN, sensors=SENSORS)


def test_a_contract_with_sensors_survives_json():
    assert Contract.from_json(CONTRACT.to_json()) == CONTRACT


def test_everything_that_is_observed_is_listed_as_sensors():
    assert CONTRACT.observed[0] == Sensor("static", "rgb", (48, 64, 3), "uint8", role="static")
    assert CONTRACT.observed[1:] == SENSORS
    assert CONTRACT.sensor("force") is FORCE
    assert CONTRACT.sensor("static").kind == "rgb"
    with pytest.raises(KeyError, match="cloud"):
        CONTRACT.sensor("clowd")


def test_a_contract_states_its_version_and_earlier_ones_have_none():
    plain = PLAIN.to_dict()
    assert plain.pop("schema") == SCHEMA
    assert set(plain) == {"cameras", "state", "action", "rate"}  # what earlier releases wrote, and read
    assert Contract.from_dict(plain) == PLAIN


@pytest.mark.parametrize(
    ("version", "words"),
    [(SCHEMA + 1, "up to schema 2. Install the release"), ("2", "whole number"), (0, "whole number")],
)
def test_a_version_that_is_not_known_is_refused(version, words):
    with pytest.raises(ContractMismatch, match=words):
        Contract.from_dict({**CONTRACT.to_dict(), "schema": version})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 5}, ""),
        ({"kind": "radar"}, "unknown kind 'radar'"),
        ({"dtype": "float64"}, "uint16 or float32, not 'float64'"),
        ({"shape": (48, 64, 1)}, r"\(H, W\)"),
        ({"shape": (0, 64)}, r"\(H, W\)"),
        ({"shape": (None, 64)}, r"\(H, W\)"),
        ({"unit": None}, "unit of depth is its scale"),
        ({"unit": "inch"}, "unit of depth is its scale"),
        ({"unit": "0 mm"}, "unit of depth is its scale"),
        ({"most": 3}, "only there"),
        ({"rate": 0.0}, "positive number of Hz"),
    ],
)
def test_what_is_no_sensor_is_refused_by_name(change, words):
    named = f"sensor 'depth_static'.*{words}" if "name" not in change else "named by a word, not 5"
    with pytest.raises(ConfigurationError, match=named):
        replace(DEPTH, **change)
    wrong = {**CONTRACT.to_dict(), "sensors": [{**CONTRACT.to_dict()["sensors"][0], **change}]}
    with pytest.raises(ContractMismatch, match=named):
        Contract.from_dict(wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"most": None}, "most says"), ({"most": 0}, "number of points"), ({"shape": (None, 2)}, "C ≥ 3")],
)
def test_a_cloud_that_varies_states_up_to_what(change, words):
    with pytest.raises(ConfigurationError, match=f"sensor 'cloud'.*{words}"):
        replace(CLOUD, **change)


@pytest.mark.parametrize(
    ("sensors", "words"),
    [((DEPTH, DEPTH), "called 'depth_static'"), ((replace(DEPTH, name="static"),), "called 'static'")],
)
def test_names_are_unique(sensors, words):
    with pytest.raises(ConfigurationError, match=words):
        replace(PLAIN, sensors=sensors)


def test_an_rgb_camera_is_stated_as_one():
    with pytest.raises(ConfigurationError, match="in cameras, not in sensors"):
        replace(PLAIN, sensors=(Sensor("top", "rgb", (4, 4, 3), "uint8"),))


@pytest.mark.parametrize(
    ("unit", "scale"), [("m", 1.0), ("cm", 0.01), ("mm", 0.001), ("0.25 mm", 0.00025), ("10 cm", 0.1)]
)
def test_the_unit_of_depth_is_its_scale(unit, scale):
    assert replace(DEPTH, unit=unit).scale == pytest.approx(scale)
    assert FORCE.scale == 1


# ---- comparison and conversions


def test_extra_sensors_are_fine_and_missing_ones_are_named():
    assert differences(PLAIN, CONTRACT) == []
    (found,) = differences(CONTRACT, replace(CONTRACT, sensors=SENSORS[1:]))
    assert (found.where, found.offered) == ("sensor 'depth_static'", ["cloud", "depth_wrist", "force"])


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"unit": "cm"}, "unit"),
        ({"shape": (48, 48)}, "shape"),
        ({"dtype": "float32"}, "dtype"),
        ({"role": "wrist"}, "role"),
    ],
)
def test_every_difference_of_a_sensor_is_named_with_both_values(change, where):
    other = replace(CONTRACT, sensors=(replace(DEPTH, **change), *SENSORS[1:]))
    (found,) = differences(CONTRACT, other)
    assert found.where == f"sensor 'depth_static' {where}"
    with pytest.raises(ContractMismatch, match="Nothing was moved"):
        require_fit(CONTRACT, other, "the policy", "the robot")


@pytest.mark.parametrize(
    ("offered", "fits"),
    [
        (replace(CLOUD, most=16), True),
        (replace(CLOUD, most=64), False),
        (replace(CLOUD, shape=(32, 3), most=None), True),
        (replace(CLOUD, shape=(33, 3), most=None), False),
        (replace(CLOUD, shape=(None, 6)), False),
    ],
)
def test_a_cloud_of_fewer_points_fits(offered, fits):
    needed, there = replace(PLAIN, sensors=(CLOUD,)), replace(PLAIN, sensors=(offered,))
    assert (differences(needed, there) == []) is fits


def test_a_fixed_number_of_points_is_needed_exactly():
    fixed = replace(CLOUD, shape=(32, 3), most=None)
    assert differences(replace(PLAIN, sensors=(fixed,)), replace(PLAIN, sensors=(CLOUD,))) != []


def test_a_sensor_is_renamed_and_the_conversion_is_suggested():
    other = replace(PLAIN, sensors=(replace(DEPTH, name="front_depth"), FORCE))
    names = possible_conversions(replace(PLAIN, sensors=(DEPTH, FORCE)), other)
    assert names == ["sensor.front_depth:depth_static"]
    (step,), contract = parse(names, other)
    assert contract.sensors == (DEPTH, FORCE)
    assert set(step.apply({"front_depth": np.zeros(1), "force": np.ones(1)})) == {"depth_static", "force"}


@pytest.mark.parametrize("name", ["sensor.nothing:depth", "sensor.force:cloud", "sensor.force:static"])
def test_a_rename_that_cannot_be_is_refused(name):
    with pytest.raises(ConfigurationError, match=r"no sensor|another sensor"):
        parse([name], CONTRACT)


def test_a_camera_does_not_take_a_sensors_name():
    with pytest.raises(ConfigurationError, match="another camera"):
        parse(["camera.static:force"], CONTRACT)


# ---- arrays


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda s: s.name)
def test_what_a_sensor_gives_is_checked(sensor):
    sensor.check(sensor.blank())
    for wrong in (None, [0.0], sensor.blank().astype(np.float64), sensor.blank()[None], sensor.blank()[..., :-1]):
        with pytest.raises(ContractMismatch, match=f"sensor {sensor.name!r} must be {sensor.dtype}"):
            sensor.check(wrong)
    if sensor.dtype == "float32":
        broken = sensor.blank()
        broken.flat[1] = np.nan
        with pytest.raises(NotFinite, match=f"sensor {sensor.name!r} is not finite: element .* is nan"):
            sensor.check(broken)


def test_a_cloud_has_any_number_of_points_up_to_the_most():
    for count in (0, 1, 32):
        CLOUD.check(np.zeros((count, 3), np.float32))
    with pytest.raises(ContractMismatch, match=r"up to 32, 3.*\(33, 3\)"):
        CLOUD.check(np.zeros((33, 3), np.float32))


def test_whole_points_may_be_missing_but_no_infinity_is_a_point():
    cloud = np.zeros((4, 3), np.float32)
    cloud[2] = np.nan
    CLOUD.check(cloud)
    cloud[2] = np.inf
    with pytest.raises(NotFinite, match=r"element \[2, 0\] is inf. Give NaN for whole points"):
        CLOUD.check(cloud)


@pytest.mark.parametrize("count", [0, 1, 31, 32])
def test_padding_is_undone(count):
    points = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    full = CLOUD.padded(points)
    assert full.shape == CLOUD.full_shape == (32, 3)
    assert np.isnan(full[count:]).all()
    np.testing.assert_array_equal(CLOUD.trimmed(full), points)


def test_an_array_of_fixed_shape_is_not_padded():
    force = FORCE.blank()
    assert FORCE.padded(force) is force
    assert FORCE.trimmed(force) is force
