"""A run as it happens, in the viewer of rerun: cameras, foresight beside what came, state, actions, latencies, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract, Field
from forehand.errors import ConfigurationError
from forehand.foresight import Foreseen
from forehand.rollout import Moment
from forehand.running.watching import Beside, Watcher

JPEG_QUALITY = 85


class Live(Watcher):
    """Logs every moment to the rerun recording ``stream``, step by step on the timeline ``step``.

    Entities: ``cameras/<name>/now`` and ``…/foreseen`` (what the policy had expected to see at this moment),
    ``state/<field>``, ``action/<field>`` (as commanded), ``latency/<stage>`` (ms), ``held``, and ``events`` in words.
    """

    def __init__(self, stream: Any, contract: Contract) -> None:
        self._stream, self._contract = stream, contract
        self._first = self._last = 0  # steps of the run
        self._foreseen = Foreseen()

    def begin(self, episode: int, instruction: str) -> None:
        """Say so."""
        self._first, self._foreseen = self._last, Foreseen()
        self._stream.set_time("step", sequence=self._first)
        self._say(f"episode {episode}: {instruction}", "INFO")

    def watch(self, moment: Moment) -> None:
        """Log one step."""
        import rerun

        self._last = self._first + moment.step
        self._stream.set_time("step", sequence=self._last)
        seen, foreseen = moment.observation, self._foreseen.due(moment)
        for camera in self._contract.cameras:
            self._picture(f"cameras/{camera.name}/now", seen.images[camera.name])
            if camera.name in foreseen:
                self._picture(f"cameras/{camera.name}/foreseen", foreseen[camera.name])
        self._vector("state", self._contract.state, seen.state)
        if moment.action is not None:
            self._vector("action", self._contract.action, moment.action)
        self._stream.log("held", rerun.Scalars(float(moment.action is None)))
        for stage, took in moment.seconds.items():
            self._stream.log(f"latency/{stage}", rerun.Scalars(took * 1000))
        for cut in moment.cut:
            self._say(str(cut), "WARN")

    def end(self, ending: str, success: bool | None) -> None:
        """Say how it ended."""
        self._say(f"{ending}; the robot holds", "INFO")
        self._last += 1

    def close(self) -> None:
        """Write out what is still on its way."""
        self._stream.flush()
        self._stream.disconnect()

    def _say(self, words: str, level: str) -> None:
        import rerun

        self._stream.log("events", rerun.TextLog(words, level=level))

    def _picture(self, entity: str, pixels: NDArray[np.uint8]) -> None:
        import rerun

        self._stream.log(entity, rerun.Image(np.ascontiguousarray(pixels)).compress(jpeg_quality=JPEG_QUALITY))

    def _vector(self, entity: str, fields: tuple[Field, ...], numbers: NDArray[np.float32]) -> None:
        import rerun

        start = 0
        for field in fields:
            self._stream.log(f"{entity}/{field.name}", rerun.Scalars(numbers[start : start + field.size]))
            start += field.size


def live_view(where: bool | str, contract: Contract) -> Watcher:
    """Someone who shows the run of a robot of ``contract``, from a thread of its own.

    ``where``: True opens a viewer on this computer, ``PATH.rrd`` writes a file that the viewer can open, and
    ``rerun+http://HOST:9876/proxy`` sends it to a viewer that is open there. What the viewer cannot keep up with is left
    out. Raises :class:`ConfigurationError` where rerun is not installed, or cannot do that.
    """
    try:
        import rerun
    except ImportError as error:
        raise ConfigurationError(
            f"Watching live needs {error.name}, which is not installed: pip install 'forehand[live]', or leave live out."
        ) from error
    stream = rerun.RecordingStream("forehand")
    look = _blueprint(contract)
    try:
        if where is True:
            stream.spawn(default_blueprint=look)
        elif str(where).endswith(".rrd"):
            stream.save(str(where), default_blueprint=look)
        elif str(where).startswith("rerun+http"):
            stream.connect_grpc(str(where), default_blueprint=look)
        else:
            raise ConfigurationError(
                f"live is true (a viewer here), a path that ends in .rrd, or rerun+http://HOST:9876/proxy, not {where!r}."
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(f"rerun could not be started with live={where}: {error}.") from error
    return Beside(Live(stream, contract), "the live view", may_miss=True)


def _blueprint(contract: Contract) -> Any:
    from rerun import blueprint as rrb

    cameras = [
        rrb.Vertical(
            rrb.Spatial2DView(origin=f"cameras/{camera.name}/now", name=f"{camera.name}, now"),
            rrb.Spatial2DView(origin=f"cameras/{camera.name}/foreseen", name=f"{camera.name}, as it was foreseen"),
        )
        for camera in contract.cameras
    ]
    curves = [rrb.TimeSeriesView(origin=name, name=name) for name in ("action", "state", "latency")]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(*cameras), rrb.Horizontal(*curves), rrb.TextLogView(origin="events"), row_shares=[4, 3, 1]
        )
    )
