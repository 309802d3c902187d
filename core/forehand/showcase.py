"""Optional interfaces for the gallery: showcases of a benchmark, and robots that render for people. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from forehand.benchmark import Benchmark
from forehand.robot import Episode, Robot


@dataclass(frozen=True)
class Showcase:
    """One exhibit of a benchmark's gallery.

    section: its heading; title and about: what it is, in a word and in a sentence; trial: the episodes to show, as one of
    :meth:`Benchmark.trials`; sentences: all instructions of the task; video: whether the whole trial is shown, not only
    its first moment.
    """

    section: str
    title: str
    trial: Sequence[Episode]
    about: str = ""
    sentences: Sequence[str] = ()
    video: bool = True


@runtime_checkable
class HasShowcases(Protocol):
    """A benchmark with showcases of its own."""

    def showcases(self, seed: int) -> list[Showcase]:
        """The showcases, section by section."""


@runtime_checkable
class RendersForPeople(Protocol):
    """A robot, such as a simulated one, that can render better images than those for policies."""

    def for_rendering(self, size: int, overview: bool = False) -> Robot:
        """A robot like this one, not connected, whose images are ``size`` pixels high and of high quality.

        ``overview`` adds a camera, as the first of the contract, that shows the whole scene.
        """


def showcases(benchmark: Benchmark, seed: int) -> list[Showcase]:
    """The benchmark's own showcases; where it has none, one of each task, solved by the expert."""
    if isinstance(benchmark, HasShowcases):
        return benchmark.showcases(seed)
    found = []
    for task in benchmark.tasks:
        episodes = benchmark.episodes(50, seed, [task])
        sentences = tuple(dict.fromkeys(episode.instruction for episode in episodes))
        found.append(Showcase("Tasks", task.replace("_", " "), episodes[:1], sentences=sentences))
    return found


def for_rendering(robot: Robot, size: int, overview: bool = False) -> Robot:
    """:meth:`RendersForPeople.for_rendering` of ``robot``, or ``robot`` itself where it does not have that."""
    return robot.for_rendering(size, overview) if isinstance(robot, RendersForPeople) else robot
