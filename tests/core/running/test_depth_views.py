"""Viewers show depth in colours with its range in metres, and other sensors as points and curves."""

from collections import defaultdict
from dataclasses import replace

import av
import numpy as np
from rerun.chunk import RrdReader

from forehand import Camera, Contract, Field, Observation, Sensor
from forehand.running.control_step import Step
from forehand.running.depth_colours import DepthColours
from forehand.running.rerun_viewer import open_rerun
from forehand.running.video import BAR, HEIGHT, RolloutVideo

DEPTH = Sensor("depth", "depth", (16, 24), "uint16", unit="mm")
SENSORS = (
    DEPTH,
    Sensor("cloud", "point_cloud", (None, 3), "float32", most=4),
    Sensor("force", "vector", (3,), "float32", unit="N"),
)
CONTRACT = Contract((Camera("static", 16, 16),), (Field("position", 1),), (Field("motion", 1),), 15.0, SENSORS)


def step(number: int) -> Step:
    depth = np.linspace(500, 2000, 16 * 24).reshape(16, 24).astype(np.uint16)
    depth[0] = 0
    sensors = {"depth": depth, "cloud": np.ones((number, 3), np.float32), "force": np.ones(3, np.float32)}
    images = {"static": np.full((16, 16, 3), 90, np.uint8)}
    seen = Observation(images, np.zeros(1, np.float32), number / 15, sensors=sensors)
    return Step(number, seen, None, np.zeros(1, np.float32), ended=number == 2)


def test_depth_is_painted_over_the_range_of_the_first_image():
    colors = DepthColours(DEPTH)
    assert not colors.paint(np.zeros((16, 24), np.uint16)).any()  # nothing measured, and no range yet
    first = step(0).observation.sensors["depth"]
    painted = colors.paint(first)
    assert painted.shape == (16, 24, 3)
    assert painted.dtype == np.uint8
    assert not painted[0].any()
    assert painted[1:].any(axis=-1).all()
    assert colors.label == "depth: 0.59 to 2.00 m"
    np.testing.assert_array_equal(colors.paint(first * np.uint16(2))[-1, -1], painted[-1, -1])  # beyond: the last colour
    assert colors.label == "depth: 0.59 to 2.00 m"


def test_a_film_has_the_depth_beside_the_cameras(tmp_path):
    path = tmp_path / "film.mp4"
    with RolloutVideo(path, ["static"], 15.0, "hold", [DEPTH]) as film:
        for number in range(3):
            film.on_step(step(number))
    with av.open(str(path)) as container:
        frame = next(iter(container.decode(video=0))).to_ndarray(format="rgb24")
    assert frame.shape == (BAR + HEIGHT, HEIGHT + HEIGHT * 24 // 16, 3)
    depth = frame[BAR + 20 : BAR + HEIGHT - 30, HEIGHT + 5 :].astype(int)
    assert np.ptp(depth, axis=-1).mean() > 60  # it is in colours; the camera's image is gray


def test_the_live_view_has_every_sensor(tmp_path):
    path = tmp_path / "run.rrd"
    view = open_rerun(str(path), CONTRACT)
    view.on_episode_start(0, "hold")
    for number in range(3):
        view.on_step(step(number))
    view.close()
    steps = defaultdict(list)
    for chunk in RrdReader(path).stream():
        if "step" in chunk.timeline_names:
            steps[chunk.entity_path.lstrip("/")] += chunk.to_record_batch().column("step").to_pylist()
    for name in ("depth", "cloud", "force"):
        assert sorted(set(steps[f"sensors/{name}"])) == [0, 1, 2]


def test_a_contract_without_sensors_shows_none(tmp_path):
    path = tmp_path / "run.rrd"
    view = open_rerun(str(path), replace(CONTRACT, sensors=()))
    view.on_step(step(0))
    view.close()
    assert not [c for c in RrdReader(path).stream() if c.entity_path.startswith("/sensors")]
