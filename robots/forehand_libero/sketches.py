"""Moments of a scene, kept while it is simulated; pictures that are drawn of them later equal those drawn at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

POSES = tuple(
    f"{thing}_{kind}" if thing else kind
    for thing, kinds in {
        "": ("xpos", "xquat", "xmat", "xipos", "ximat"),
        "geom": ("xpos", "xmat"),
        "site": ("xpos", "xmat"),
        "cam": ("xpos", "xmat"),
        "light": ("xpos", "xdir"),
    }.items()
    for kind in kinds
)
"""What a picture shows of MuJoCo's data: where everything is."""

COLOURS = ("geom_rgba", "site_rgba")
"""What a picture shows of the model, and a task may change: a burner that glows."""

Moment = list[NDArray[Any]]
Picture = NDArray[np.uint8]


class Sketches:
    """Cameras of ``environment`` (robosuite's), by names, that draw when they are asked to, or keep the moment instead.

    The cameras look when the simulator samples them, which is in the middle of a control step: that moment is kept. They
    are replaced at the next reset. ``size``: of pictures, pixels.
    """

    def __init__(self, environment: Any, cameras: Sequence[str], size: int) -> None:
        self.on = False
        """Whether moments are kept instead of drawing; pictures are black meanwhile."""
        self.moment: Moment = []
        """The latest that was kept."""
        self._environment = environment
        self._black = np.zeros((size, size, 3), np.uint8)
        self._draw: dict[str, Callable[[Any], Picture]] = {}
        set_up = environment._setup_observables

        def with_sketches() -> Any:
            observables = set_up()
            for name in cameras:
                self._draw[name] = observables[name]._sensor
                observables[name]._sensor = self._camera(observables[name]._sensor)
            return observables

        environment._setup_observables = with_sketches

    def draw(self, moment: Moment) -> dict[str, Picture]:
        """The pictures (H, W, 3) of a moment that was kept, by camera. The scene stays as it is."""
        present = self._look()
        self._put(moment)
        try:
            return {name: draw({}) for name, draw in self._draw.items()}
        finally:
            self._put(present)

    def _camera(self, draw: Callable[[Any], Picture]) -> Callable[[Any], Picture]:
        @functools.wraps(draw)
        def look(cache: Any) -> Picture:
            if not self.on:
                return draw(cache)
            self.moment = self._look()
            return self._black

        return look

    def _arrays(self) -> list[NDArray[Any]]:
        sim = self._environment.sim
        data, model = sim.data._data, sim.model._model
        return [*(getattr(data, name) for name in POSES), *(getattr(model, name) for name in COLOURS)]

    def _look(self) -> Moment:
        return [array.copy() for array in self._arrays()]

    def _put(self, moment: Moment) -> None:
        for array, kept in zip(self._arrays(), moment, strict=True):
            array[:] = kept
