"""What of the benchmark is worth showing to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from forehand import Episode, Exhibit
from forehand_robots.tabletop_chains.disturbances import DISTURBANCES
from forehand_robots.tabletop_chains.sentences import SPLITS, sentences
from forehand_robots.tabletop_chains.tasks import MAX_STEPS, TASKS
from forehand_robots.tabletop_chains.variants import Variant, load_variant, variants

if TYPE_CHECKING:
    from forehand_robots.tabletop_chains.benchmark import TabletopChainsBenchmark

LIVELY = {"drawer": "open", "bulb": "on", "light": "on", "blue": "drawer"}  # a scene with much to see
CHAIN = 3  # one with various tasks
DISTURBED_TASKS = 3  # of a chain that shows a disturbance


def exhibits(kind: type[TabletopChainsBenchmark], own: Sequence[str], seed: int) -> list[Exhibit]:
    """Each variant, and ``own`` ones, as a picture; a chain, each task and each disturbance as a film in one of them."""
    names = list(dict.fromkeys([*variants(), *own]))
    chain, tasks, disturbances = _chain(kind, seed), _tasks(kind, names, seed), _disturbances(kind, names, seed)
    return [*_environments(names, seed), chain, *tasks, *disturbances]


def _environments(names: list[str], seed: int) -> Iterator[Exhibit]:
    for name in names:
        variant = load_variant(name)
        episode = Episode("close_drawer", "", seed, MAX_STEPS, {"variant": name, **LIVELY})
        yield Exhibit("Environments", variant.name, [episode], _described(variant), film=False)


def _described(variant: Variant) -> str:
    side = "left" if variant.fixtures.drawer < variant.fixtures.door else "right"
    surfaces = f"Table: {variant.table.pattern}. Cabinets: {variant.cabinet.pattern}. Floor: {variant.floor.pattern}."
    return f"{surfaces} The drawer is to the {side} of the sliding door."


def _chain(kind: type[TabletopChainsBenchmark], seed: int) -> Exhibit:
    trial = kind("D").trial(CHAIN, seed)
    told = " → ".join(episode.instruction for episode in trial)
    return Exhibit(
        "Five in a row", "chain", trial, f"One of a thousand chains, in an environment never seen before: {told}."
    )


def _tasks(kind: type[TabletopChainsBenchmark], names: list[str], seed: int) -> Iterator[Exhibit]:
    for number, task in enumerate(TASKS):
        trial = kind(names[number % len(names)]).episodes(1, seed + number, [task])
        told = [sentence for split in SPLITS for sentence in sentences(task, split)]
        yield Exhibit("Tasks", task.replace("_", " "), trial, sentences=told)


def _disturbances(kind: type[TabletopChainsBenchmark], names: list[str], seed: int) -> Iterator[Exhibit]:
    for number, (name, disturbance) in enumerate(DISTURBANCES.items()):
        benchmark = kind(names[number % len(names)], disturbances=[name])
        trial = benchmark.trial(number + 1, seed)[:DISTURBED_TASKS]
        about = " ".join((disturbance.__doc__ or "").split("\n\n")[0].split())
        yield Exhibit("Disturbances", name.replace("_", " "), trial, about)
