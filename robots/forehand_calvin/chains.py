"""Chains of five tasks: the thousand of the long-horizon evaluation, and the generator that makes them.

Source: Mees et al. 2022. The published evaluation makes them anew each time, which takes more than a minute; here they
are a file, and :func:`generate` is what it is tested against.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from forehand_calvin.tasks import BLOCKS, TASKS, State

LENGTH = 5
COUNT = 1000


@dataclass(frozen=True)
class Chain:
    """Tasks one after the other, from the symbolic ``start``."""

    start: State
    tasks: tuple[str, ...]


@functools.cache
def chains() -> Sequence[Chain]:
    """The thousand chains, in their order."""
    text = resources.files("forehand_calvin.data").joinpath("chains.json").read_text(encoding="utf-8")
    return tuple(Chain(start, tuple(tasks)) for start, tasks in json.loads(text))


def starts() -> list[State]:
    """The symbolic states that chains begin from: one or two blocks on the table, no two at one place of the cabinet."""
    places = ("table", "slider_right", "slider_left")
    found: list[State] = []
    for led, bulb, slider, drawer in itertools.product((0, 1), (0, 1), ("right", "left"), ("closed", "open")):
        for where in itertools.product(places, repeat=len(BLOCKS)):
            if where.count("table") in (1, 2) and max(map(where.count, places[1:])) < 2:
                lights: dict[str, str | int] = {"led": led, "lightbulb": bulb, "slider": slider, "drawer": drawer}
                found.append(lights | dict(zip(BLOCKS, where, strict=True)) | {"grasped": 0})
    return found


def possible(start: State, tasks: Sequence[str]) -> bool:
    """Whether ``tasks`` can be done in this order, each in one way only, and are all of different categories."""
    if len({TASKS[task].category for task in tasks}) < len(tasks):
        return False
    state = start
    for task in tasks:
        results = TASKS[task].results(state)
        if len(results) != 1:
            return False
        state = results[0]
    return True


def drawn(start: State, seed: int) -> Iterator[tuple[str, ...]]:
    """Possible chains from ``start``, without end: five tasks at a time from numpy's legacy generator with ``seed``."""
    generator, names = np.random.RandomState(seed), list(TASKS)
    while True:
        tasks = tuple(names[i] for i in generator.permutation(len(names))[:LENGTH])
        if possible(start, tasks):
            yield tasks


def order(count: int = COUNT) -> tuple[list[int], list[int]]:
    """How ``count`` chains are spread over :func:`starts`, and the order into which they are then shuffled.

    That is: the number of each chain's start, start by start, and for each place the number of the chain that it gets.
    """
    shares = [len(share) for share in np.array_split(range(count), len(starts()))]
    numbers = [number for number, share in enumerate(shares) for _ in range(share)]
    return numbers, np.random.RandomState(0).permutation(count).tolist()


def generate(count: int = COUNT) -> list[Chain]:
    """``count`` chains as the benchmark makes them; a thousand are :func:`chains`."""
    numbers, places = order(count)
    made = []
    for number, start in enumerate(starts()):
        found = itertools.islice(drawn(start, number), numbers.count(number))
        made += [Chain(start, tasks) for tasks in found]
    return [made[place] for place in places]
