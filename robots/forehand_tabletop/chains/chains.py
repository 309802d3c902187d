"""Task chains: feasible sequences, and the fixed thousand of five used for evaluation.

Run as a program, this module writes them to chains.txt: ``python -m forehand_tabletop.chains.chains``.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from forehand_tabletop.chains.dimensions import BLOCKS
from forehand_tabletop.chains.tasks import TASKS
from forehand_tabletop.chains.world import CHOICES, SymbolicState

FROZEN = "chains.txt"
LENGTH, COUNT, SEED = 5, 1000, 0
PRECEDING = "before"  # option of an episode: tasks that the expert does before it begins, separated by spaces


@dataclass(frozen=True)
class Chain:
    """A symbolic start state, and tasks that are possible one after the other from there."""

    start: SymbolicState
    tasks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' '.join(self.start.to_dict().values())}: {' '.join(self.tasks)}"

    @classmethod
    def read(cls, line: str) -> Chain:
        """The inverse of ``str``."""
        start, tasks = line.split(": ")
        return cls(SymbolicState(*start.split()), tuple(tasks.split()))


@cache
def frozen_chains() -> Sequence[Chain]:
    """The thousand chains of five, always the same."""
    text = resources.files(__package__).joinpath(FROZEN).read_text(encoding="ascii")
    return tuple(Chain.read(line) for line in text.splitlines())


def make_chains(count: int, length: int, seed: int) -> list[Chain]:
    """``count`` different chains of different tasks; tasks that occurred seldom so far are drawn more often."""
    rng, used = random.Random(seed), Counter[str]()
    found: dict[Chain, None] = {}
    while len(found) < count:
        chain = _make_one(length, rng, used)
        if chain is not None and chain not in found:
            found[chain] = None
            used.update(chain.tasks)
    return list(found)


def random_start(rng: random.Random) -> SymbolicState:
    """A random start with an empty hand: blocks mostly on the table, some in the drawer, at times two stacked."""
    fixtures = {name: rng.choice(values) for name, values in CHOICES.items() if name not in BLOCKS}
    places = {name: rng.choice(("table", "table", "drawer")) for name in BLOCKS}
    symbols = SymbolicState(**fixtures, **places)
    lying = symbols.at("table")
    return symbols.but(**{rng.choice(lying): "stacked"}) if len(lying) > 1 and rng.random() < 0.25 else symbols


def start_for(task: str, rng: random.Random) -> SymbolicState:
    """A start from which this task is possible, with a block in the hand where it needs one."""
    while True:
        start = random_start(rng)
        if TASKS[task].possible(start):
            return start
        held = start.but(**{rng.choice(start.at("table")): "held"}) if start.at("table") else start
        if not held.at("stacked") and TASKS[task].possible(held):
            return held


def after(start: SymbolicState, tasks: Sequence[str]) -> SymbolicState:
    """The symbolic state when ``tasks`` have been done from ``start``, one after the other."""
    for task in tasks:
        start = TASKS[task].after(start)
    return start


def preceding_tasks(task: str, count: int, rng: random.Random) -> tuple[SymbolicState, tuple[str, ...]]:
    """A start, and ``count`` other tasks that can be done one after the other from there and make ``task`` possible."""
    while True:
        start = symbols = random_start(rng)
        done: list[str] = []
        while len(done) < count and (choices := [n for n, t in TASKS.items() if t.possible(symbols) and n != task]):
            done.append(rng.choice(choices))
            symbols = TASKS[done[-1]].after(symbols)
        if len(done) == count and TASKS[task].possible(symbols):
            return start, tuple(done)


def _make_one(length: int, rng: random.Random, used: Counter[str]) -> Chain | None:
    start = symbols = random_start(rng)
    tasks: list[str] = []
    for _ in range(length):
        choices = [name for name, task in TASKS.items() if task.possible(symbols) and name not in tasks]
        if not choices:
            return None
        weights = [1 / (1 + used[name]) ** 2 for name in choices]
        tasks.append(rng.choices(choices, weights)[0])
        symbols = TASKS[tasks[-1]].after(symbols)
    return Chain(start, tuple(tasks))


if __name__ == "__main__":
    lines = [str(chain) for chain in make_chains(COUNT, LENGTH, SEED)]
    Path(__file__).with_name(FROZEN).write_text("\n".join(lines) + "\n", encoding="ascii")
