"""Expert's future: what a simulated robot would observe if the benchmark's expert acted from here on."""

from __future__ import annotations

from forehand.benchmark import Benchmark
from forehand.control.rest import rest_action
from forehand.errors import ConfigurationError
from forehand.robot import Observation, Robot, Undoes


class ExpertFuture:
    """Observations that lie ahead in the running episode of ``robot``, a simulator of this process.

    Its expert acts on the simulator's present state, and what it did is undone. ``robot`` may be wrapped: observations
    are in its contract.
    """

    def __init__(self, benchmark: Benchmark, robot: Robot) -> None:
        if not isinstance(robot.unwrapped, Undoes):
            raise ConfigurationError(
                f"foresight=oracle: {type(robot.unwrapped).__name__} cannot go back to where it was, so that what the "
                f"expert would do cannot be tried. Take a simulator that can, such as robot=tabletop."
            )
        self._benchmark, self._robot = benchmark, robot

    def ahead(self, count: int) -> list[Observation]:
        """The next ``count`` observations. Raises :class:`ConfigurationError` without a running episode."""
        inner, episode = self._robot.unwrapped, self._robot.episode
        if episode is None:
            raise ConfigurationError("foresight=oracle: the robot has no running episode, whose expert could act.")
        assert isinstance(inner, Undoes)
        found, last = [], None
        with inner.undone():
            expert = self._benchmark.expert(inner, episode, episode.seed)
            for _ in range(count):
                action = expert.act()
                last = rest_action(inner.contract, last) if action is None else action
                found.append(self._robot.step(self._robot.from_unwrapped(last)))
        return found
