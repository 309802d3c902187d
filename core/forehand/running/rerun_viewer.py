"""Live view in rerun: cameras, forecasts beside outcomes, states, actions, latencies and limits."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.contracts.sensor import DEPTH, POINT_CLOUD, VECTOR, Sensor
from forehand.errors import ConfigurationError
from forehand.robot import Observation
from forehand.running.control_step import Step
from forehand.running.forecast_errors import ForecastErrors
from forehand.running.forecasts import ForecastBuffer
from forehand.running.observers import BackgroundObserver, StepObserver
from forehand.running.viewer import PLACE, open_viewer
from forehand.utils.heat import heat_picture

JPEG_QUALITY = 85
BRIGHTEST = 0.3
"""Error of a pixel, of 1, that is drawn brightest."""

REMEMBERED = 64
"""Steps that an answer may come behind its request for its errors to be shown."""


class RerunViewer(StepObserver):
    """Logs every moment to the rerun recording ``stream``, step by step on the timeline ``step``.

    Of sensors beside cameras it logs ``sensors/<name>``: depth in colours by metres, point clouds, and vectors as curves.
    Other entities: ``cameras/<name>/now``, ``…/foreseen`` (what the policy had expected to see at this moment) and
    ``…/error`` (how far it was off, as heat), ``forecast_error/<name>`` and ``…/nothing_changes``,
    ``state/<field>``, ``action/<field>`` (as commanded), ``latency/<stage>`` (ms), ``held``, and ``events`` in words.
    """

    def __init__(self, stream: Any, contract: Contract) -> None:
        self._stream, self._contract = stream, contract
        self._first = self._last = 0  # steps of the run
        self._begin()

    def on_episode_start(self, episode: int, instruction: str) -> None:
        """Log the start of the episode."""
        self._first = self._last
        self._begin()
        self._stream.set_time("step", sequence=self._first)
        self.say(f"episode {episode}: {instruction}", "INFO")

    def _begin(self) -> None:
        self._foreseen, self._errors = ForecastBuffer(), ForecastErrors()
        self._seen: deque[tuple[int, Observation]] = deque(maxlen=REMEMBERED)

    def on_step(self, step: Step) -> None:
        """Log one step."""
        import rerun

        self._last = self._first + step.step
        self._stream.set_time("step", sequence=self._last)
        seen, foreseen = step.observation, self._foreseen.pop(step)
        for camera in self._contract.cameras:
            self._picture(f"cameras/{camera.name}/now", seen.images[camera.name])
            if camera.name in foreseen:
                self._picture(f"cameras/{camera.name}/foreseen", foreseen[camera.name])
        self._forecast_errors(step)
        for sensor in self._contract.sensors:
            self._sensor(sensor, seen.sensors[sensor.name])
        self._vector("state", self._contract.state, seen.state)
        if step.action is not None:
            self._vector("action", self._contract.action, step.action)
        self._stream.log("held", rerun.Scalars(float(step.action is None)))
        for stage, took in step.seconds.items():
            self._stream.log(f"latency/{stage}", rerun.Scalars(took * 1000))
        for clipping in step.clippings:
            self.say(str(clipping), "WARN")

    def _forecast_errors(self, step: Step) -> None:
        import rerun

        self._seen.append((step.step, step.observation))
        for camera, found in self._errors.pop(step.step, step.observation).items():
            self._picture(f"cameras/{camera}/error", heat_picture(found.heat, BRIGHTEST))
            self._stream.log(f"forecast_error/{camera}", rerun.Scalars(found.error))
            self._stream.log(f"forecast_error/{camera}/nothing_changes", rerun.Scalars(found.unchanged))
        requested = step.step if step.requested_at is None else step.requested_at
        if step.prediction is not None and (then := dict(self._seen).get(requested)) is not None:
            self._errors.add(requested, then, step.prediction.forecasts)

    def on_episode_end(self, ending: str, success: bool | None) -> None:
        """Log the end of the episode."""
        self.say(ending, "INFO")
        self._last += 1

    def say(self, words: str, level: str) -> None:
        """Log words among the events; ``level``: rerun's, such as ``INFO`` or ``WARN``."""
        import rerun

        self._stream.log("events", rerun.TextLog(words, level=level))

    def close(self) -> None:
        """Write out what is still on its way."""
        self._stream.flush()
        self._stream.disconnect()

    def _picture(self, entity: str, pixels: NDArray[np.uint8]) -> None:
        import rerun

        self._stream.log(entity, rerun.Image(np.ascontiguousarray(pixels)).compress(jpeg_quality=JPEG_QUALITY))

    def _sensor(self, sensor: Sensor, values: NDArray[Any]) -> None:
        import rerun

        entity = f"sensors/{sensor.name}"
        if sensor.kind == DEPTH:
            self._stream.log(
                entity, rerun.DepthImage(np.ascontiguousarray(values), meter=1 / sensor.scale, colormap="turbo")
            )
        elif sensor.kind == POINT_CLOUD:
            self._stream.log(entity, rerun.Points3D(values[~np.isnan(values).any(axis=-1), :3]))
        else:
            self._stream.log(entity, rerun.Scalars(values))

    def _vector(self, entity: str, fields: tuple[Field, ...], numbers: NDArray[np.float32]) -> None:
        import rerun

        start = 0
        for field in fields:
            self._stream.log(f"{entity}/{field.name}", rerun.Scalars(numbers[start : start + field.size]))
            start += field.size


def open_rerun(where: bool | str, contract: Contract) -> StepObserver:
    """An observer that shows the run of a robot of ``contract``, from a thread of its own.

    ``where``: that of :func:`open_stream`. What the viewer cannot keep up with is left out.
    """
    return BackgroundObserver(RerunViewer(open_stream(where, contract), contract), "the live view", lossy=True)


def open_stream(where: bool | str, contract: Contract, *, recorded: bool = False) -> Any:
    """A rerun recording, with views for a robot of ``contract``.

    ``where``: True opens a viewer that listens on this computer alone, ``HOST:PORT`` one that listens there (with a
    warning where others can reach it), ``PATH.rrd`` writes a file that the viewer can open, and
    ``rerun+http://HOST:9876/proxy`` sends it to a viewer that is open there. recorded: without views of forecasts and
    latencies, which a dataset has not.

    Raises :class:`ConfigurationError` where rerun is not installed, or cannot do that.
    """
    try:
        import rerun
    except ImportError as error:
        raise ConfigurationError(
            f"The viewer needs {error.name}, which is not installed: pip install 'forehand[rerun]', or leave out rerun."
        ) from error
    stream = rerun.RecordingStream("forehand")
    look = _blueprint(contract, recorded)
    try:
        if where is True:
            stream.connect_grpc(open_viewer(), default_blueprint=look)
        elif str(where).endswith(".rrd"):
            stream.save(str(where), default_blueprint=look)
        elif str(where).startswith("rerun+http"):
            stream.connect_grpc(str(where), default_blueprint=look)
        elif PLACE.fullmatch(str(where)):
            stream.connect_grpc(open_viewer(str(where)), default_blueprint=look)
        else:
            raise ConfigurationError(
                f"live is true (a viewer here), HOST:PORT (one that listens there), a path that ends in .rrd, or "
                f"rerun+http://HOST:9876/proxy, not {where!r}."
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(f"rerun could not be started with rerun={where}: {error}.") from error
    return stream


def _blueprint(contract: Contract, recorded: bool = False) -> Any:
    from rerun import blueprint as rrb

    cameras: list[Any] = []
    for camera in contract.cameras:
        now = rrb.Spatial2DView(
            origin=f"cameras/{camera.name}/now", name=camera.name if recorded else f"{camera.name}, now"
        )
        foreseen = f"{camera.name}, as it was foreseen"
        cameras.append(
            now
            if recorded
            else rrb.Vertical(
                now,
                rrb.Spatial2DView(origin=f"cameras/{camera.name}/foreseen", name=foreseen),
                rrb.Spatial2DView(origin=f"cameras/{camera.name}/error", name=f"{camera.name}, error"),
            )
        )
    for sensor in contract.sensors:
        if sensor.kind != VECTOR:
            view = rrb.Spatial2DView if sensor.kind == DEPTH else rrb.Spatial3DView
            cameras.append(view(origin=f"sensors/{sensor.name}", name=sensor.name))
    vectors = [f"sensors/{sensor.name}" for sensor in contract.sensors if sensor.kind == VECTOR]
    last = () if recorded else ("forecast_error", "latency")
    curves = [rrb.TimeSeriesView(origin=name, name=name) for name in ("action", "state", *vectors, *last)]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(*cameras), rrb.Horizontal(*curves), rrb.TextLogView(origin="events"), row_shares=[4, 3, 1]
        )
    )
