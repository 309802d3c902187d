"""The benchmark ``tabletop-chains``: chains of five instructions in an environment that may be one never seen before."""

from __future__ import annotations

import random
from collections.abc import Sequence

from forehand import Benchmark, Episode, Exhibit, Expert, Robot
from forehand.errors import ConfigurationError, UnknownName
from forehand.registry import nearest
from forehand_robots.tabletop_chains.chains import BEFORE, frozen_chains, lead_up, random_start, start_for
from forehand_robots.tabletop_chains.disturbances import disturbed
from forehand_robots.tabletop_chains.exhibits import exhibits
from forehand_robots.tabletop_chains.sentences import sentences
from forehand_robots.tabletop_chains.tasks import MAX_STEPS, TASKS
from forehand_robots.tabletop_chains.variants import load_variant

PLAY = "play"
PLAY_STEPS = 300


class TabletopChainsBenchmark(Benchmark):
    """Seeded episodes and chains for the robot ``tabletop-chains``.

    ``variant``: where they take place: A, B, C, D, several of them (``"ABC"``, in turn), or a YAML file; ``sentences``:
    ``train``, to learn from, or ``test``, which are kept back; ``disturbances``: names of
    :mod:`~forehand_robots.tabletop_chains.disturbances`, which every episode then has; ``before``: up to how many other
    tasks the expert does, unseen, before a single task begins, so that hand and things start where a chain leaves them.
    """

    tasks: Sequence[str] = tuple(TASKS)
    annotations = ("variant",)

    def __init__(
        self, variant: str = "D", sentences: str = "test", disturbances: Sequence[str] = (), before: int = 0
    ) -> None:
        if before < 0:
            raise ConfigurationError(f"before counts tasks, so it cannot be {before}.")
        self.variants = (variant,) if variant.endswith((".yaml", ".yml")) else tuple(variant)
        for name in self.variants:
            load_variant(name)
        self.split, self.before = sentences, before
        self.disturbances = disturbed(disturbances)

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes of one task each, evenly over ``tasks``, each in a scene in which it is possible.

        ``play`` is a task that nobody is told and nobody judges; it is none of the default ones. A shorter list with the
        same arguments is the beginning of a longer one.
        """
        names = self.tasks if tasks is None else tasks
        for name in names:
            if name not in TASKS and name != PLAY:
                raise UnknownName(f"The benchmark 'tabletop-chains' has no task {name!r}. {nearest(name, TASKS)}")
        if not names or count < 0:
            raise ConfigurationError(f"Cannot make {count} episodes of the tasks {list(names)}.")
        seeds = random.Random(seed).sample(range(2**31), count)
        return [self._episode(names[i % len(names)], i // len(names), s) for i, s in enumerate(seeds)]

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """The first ``count`` of the thousand chains of five; particular ``tasks`` are tried one by one instead."""
        if tasks is not None:
            return super().trials(count, seed, tasks)
        return [self._chain(number, scene) for number, scene in enumerate(_scenes(count, seed))]

    def trial(self, number: int, seed: int, tasks: Sequence[str] | None = None) -> tuple[Episode, ...]:
        """The one of this number, without making those before it."""
        if tasks is not None:
            return super().trial(number, seed, tasks)
        return self._chain(number, _scenes(number + 1, seed)[number])

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """The scripted expert, which needs the simulator in this process; only at play it makes use of ``seed``."""
        from forehand_robots.tabletop_chains.experts import ChainExpert  # the simulator: not needed to list episodes
        from forehand_robots.tabletop_chains.play import PlayExpert
        from forehand_robots.tabletop_chains.robot import TabletopChainsRobot

        if not isinstance(robot, TabletopChainsRobot):
            raise ConfigurationError(
                f"The expert of tabletop-chains looks into the simulator, so it needs the robot 'tabletop-chains' in its "
                f"own process; it was given a {type(robot).__name__}."
            )
        return PlayExpert(robot, seed) if episode.task == PLAY else ChainExpert(robot, episode.task)

    def exhibits(self, seed: int) -> list[Exhibit]:
        """Every environment, task and disturbance, and a chain; A to D are among them, whichever are chosen."""
        return exhibits(type(self), self.variants, seed)

    def other_instruction(self, episode: Episode) -> str:
        """A sentence of another task that is possible in the same scene; the same one each time."""
        rng = random.Random(episode.seed)
        others = [name for name in TASKS if name != episode.task and name.split("_")[0] != episode.task.split("_")[0]]
        return rng.choice(sentences(rng.choice(others), self.split))

    def _chain(self, number: int, scene: int) -> tuple[Episode, ...]:
        rng, chain = random.Random(scene), frozen_chains()[number]
        options = self._place(number) | chain.start.to_dict()
        told = [rng.choice(sentences(task, self.split)) for task in chain.tasks]
        return tuple(
            Episode(task, sentence, scene, MAX_STEPS, options, continues=position > 0)
            for position, (task, sentence) in enumerate(zip(chain.tasks, told, strict=True))
        )

    def _episode(self, task: str, turn: int, seed: int) -> Episode:
        rng = random.Random(seed)
        if task == PLAY:
            return Episode(PLAY, "", seed, PLAY_STEPS, self._place(turn) | random_start(rng).to_dict())
        earlier = rng.randint(0, self.before) if self.before else 0
        start, done = lead_up(task, earlier, rng) if earlier else (start_for(task, rng), ())
        options = self._place(turn) | start.to_dict() | ({BEFORE: " ".join(done)} if done else {})
        sentence = rng.choice(sentences(task, self.split))
        return Episode(task, sentence, seed, MAX_STEPS, options)

    def _place(self, turn: int) -> dict[str, str | int | float | bool]:
        return {"variant": self.variants[turn % len(self.variants)], **self.disturbances}


def _scenes(count: int, seed: int) -> list[int]:
    """The seed of each of the first chains' scenes."""
    if not 0 <= count <= len(frozen_chains()):
        raise ConfigurationError(f"There are {len(frozen_chains())} chains, so episodes={count} cannot be had.")
    return random.Random(seed).sample(range(2**31), count)
