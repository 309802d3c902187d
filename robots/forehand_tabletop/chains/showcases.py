"""Showcases of the benchmark: scenes, tasks and disturbances for the gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from forehand import Benchmark, Episode, Showcase
from forehand_tabletop.chains.disturbances import DISTURBANCES
from forehand_tabletop.chains.sentences import SPLITS, sentences
from forehand_tabletop.chains.tasks import MAX_STEPS, TASKS
from forehand_tabletop.chains.variants import Variant, load_variant, variants

Make = Callable[..., Benchmark]
"""Makes the benchmark of a variant, with ``disturbances`` or without."""

ENVIRONMENT_START = {"drawer": "open", "bulb": "on", "light": "on", "blue": "drawer"}  # that shows every fixture at work
CHAIN = 3  # number of the chain shown, which has tasks of many kinds
DISTURBED_TASKS = 3  # of a chain that shows a disturbance


def showcases(make: Make, own: Sequence[str], seed: int) -> list[Showcase]:
    """An image of each variant and of ``own`` ones; a video of a chain, of each task and of each disturbance."""
    names = list(dict.fromkeys([*variants(), *own]))
    chain, tasks, disturbances = _chain(make, seed), _tasks(make, names, seed), _disturbances(make, names, seed)
    return [*_environments(names, seed), chain, *tasks, *disturbances]


def _environments(names: list[str], seed: int) -> Iterator[Showcase]:
    for name in names:
        variant = load_variant(name)
        episode = Episode("close_drawer", "", seed, MAX_STEPS, {"variant": name, **ENVIRONMENT_START})
        yield Showcase("Environments", variant.name, [episode], _summary(variant), video=False)


def _summary(variant: Variant) -> str:
    side = "left" if variant.fixtures.drawer < variant.fixtures.door else "right"
    surfaces = f"Table: {variant.table.pattern}. Cabinets: {variant.cabinet.pattern}. Floor: {variant.floor.pattern}."
    return f"{surfaces} The drawer is to the {side} of the sliding door."


def _chain(make: Make, seed: int) -> Showcase:
    trial = make("D").trial(CHAIN, seed)
    instructions = " → ".join(episode.instruction for episode in trial)
    return Showcase(
        "Five in a row",
        "chain",
        trial,
        f"One of a thousand chains, in an environment held out from training: {instructions}.",
    )


def _tasks(make: Make, names: list[str], seed: int) -> Iterator[Showcase]:
    for number, task in enumerate(TASKS):
        trial = make(names[number % len(names)]).episodes(1, seed + number, [task])
        known = [sentence for split in SPLITS for sentence in sentences(task, split)]
        yield Showcase("Tasks", task.replace("_", " "), trial, sentences=known)


def _disturbances(make: Make, names: list[str], seed: int) -> Iterator[Showcase]:
    for number, (name, disturbance) in enumerate(DISTURBANCES.items()):
        benchmark = make(names[number % len(names)], disturbances=[name])
        trial = benchmark.trial(number + 1, seed)[:DISTURBED_TASKS]
        about = " ".join((disturbance.__doc__ or "").split("\n\n")[0].split())
        yield Showcase("Disturbances", name.replace("_", " "), trial, about)
