"""A plugin with the smallest robot there is: a bright square that slides over a dark plane to where it is told."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from forehand import Benchmark, Camera, Contract, Episode, Expert, Field, Observation, Registry, Robot, hookimpl

SIZE = 32
TARGETS = {"left": (0.2, 0.5), "right": (0.8, 0.5)}


class Slider(Robot):
    """delay: seconds that a step takes; broken: fail in the third step of every episode; rate: Hz.

    loose: every hold fails; hangs: the third step of every episode takes an hour; crash: a file that is made when the
    process dies in the third step of an episode, which happens once.
    """

    def __init__(
        self,
        delay: float = 0.0,
        broken: bool = False,
        rate: float = 20.0,
        loose: bool = False,
        hangs: bool = False,
        crash: str | None = None,
    ) -> None:
        self.crash = crash
        self.delay, self.broken, self.loose, self.hangs = delay, broken, loose, hangs
        self.contract = Contract(
            cameras=(Camera("static", SIZE, SIZE, "static"), Camera("wrist", SIZE, SIZE, "wrist")),
            state=(Field("position", 2, unit="m"),),
            action=(Field("position", 2, unit="m", mode="delta", low=(-0.1, -0.1), high=(0.1, 0.1)),),
            rate=float(rate),
        )

    def reset(self, episode: Episode | None = None) -> Observation:
        assert episode is not None
        self.episode = episode
        self.position = np.random.default_rng(episode.seed).uniform(0.3, 0.7, 2)
        self.target, self.steps = np.array(TARGETS[episode.task]), 0
        return self.observe()

    def observe(self) -> Observation:
        image = np.full((SIZE, SIZE, 3), 40, np.uint8)
        row, column = (self.position[::-1] * (SIZE - 8)).astype(int)
        image[row : row + 8, column : column + 8] = 200
        return Observation(
            images={"static": image, "wrist": image[::-1]},
            state=self.position.astype(np.float32),
            time=self.steps / self.contract.rate,
            success=bool(np.abs(self.target - self.position).max() < 0.02),
        )

    def act(self, action: np.ndarray) -> np.ndarray:
        time.sleep(self.delay)
        self.steps += 1
        if self.crash and self.steps == 3 and not Path(self.crash).exists():
            Path(self.crash).touch()
            print("the simulator is out of memory", flush=True)
            os._exit(9)
        if self.hangs and self.steps == 3:
            hang()
        if self.broken and self.steps == 3:
            raise OSError("the cable came loose")
        self.position = np.clip(self.position + action, 0, 1)
        return action

    @contextmanager
    def undone(self) -> Iterator[None]:
        position, steps = self.position, self.steps
        yield
        self.position, self.steps = position, steps

    def hold(self) -> None:
        if self.loose:
            raise OSError("the brake does not answer")


def hang() -> None:
    """Take an hour, and say on standard error once the process has taken up a request to stop."""
    handler = signal.getsignal(signal.SIGINT)
    while signal.getsignal(signal.SIGINT) is handler:
        time.sleep(0.02)
    print("a request to stop has come", file=sys.stderr, flush=True)
    time.sleep(3600)


class Straight(Expert):
    """Goes straight there, in steps of at most 0.05; gives up at once where the seed is divisible by 4."""

    def __init__(self, robot: Slider, episode: Episode, hopeless: bool) -> None:
        self.robot, self.gives_up = robot, hopeless or episode.seed % 4 == 0
        self._phase = "start"

    @property
    def phase(self) -> str:
        return self._phase

    def act(self) -> np.ndarray | None:
        way = self.robot.target - self.robot.position
        self._phase = "stay" if np.abs(way).max() < 0.02 else "slide"
        return None if self.gives_up else np.clip(way, -0.05, 0.05).astype(np.float32)


class Sliding(Benchmark):
    tasks = tuple(TARGETS)
    annotations = ("floor",)

    def __init__(self, hopeless: bool = False) -> None:
        self.hopeless = hopeless

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        names = list(tasks or self.tasks)
        return [
            Episode(names[i % len(names)], f"slide {names[i % len(names)]}", seed % 10007 + i, 40, {"floor": i % 3})
            for i in range(count)
        ]

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        assert isinstance(robot, Slider)
        return Straight(robot, episode, self.hopeless)


@hookimpl
def forehand_register(registry: Registry) -> None:
    registry.add("robot", "slider", Slider, "a square that slides")
    registry.add("benchmark", "slider", Sliding, "slide it to a side")


@hookimpl
def forehand_configuration() -> str:
    return f"file://{Path(__file__).parent / 'conf'}"
