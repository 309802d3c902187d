"""Benchmark ``tabletop-chains``: chains of five instructions, in a seen or an unseen environment."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from forehand import Benchmark, Episode, Expert, Robot, Showcase
from forehand.benchmark import redrawn_seed
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand.registry import indefinite
from forehand_tabletop.chains.chains import PRECEDING, after, frozen_chains, preceding_tasks, random_start, start_for
from forehand_tabletop.chains.disturbances import disturbed
from forehand_tabletop.chains.pairs import FIRST, PAIRED, SECOND, drawn_first, partners
from forehand_tabletop.chains.sentences import VAGUE, sentences
from forehand_tabletop.chains.showcases import showcases
from forehand_tabletop.chains.styles import DIRECT, STYLE, drawn_style, require_styles
from forehand_tabletop.chains.tasks import MAX_STEPS, TASKS
from forehand_tabletop.chains.variants import load_variant

PLAY = "play"
PLAY_STEPS = 300


class TabletopChainsBenchmark(Benchmark):
    """Seeded episodes and chains for the robot ``tabletop-chains``.

    ``variant``: the environment: A, B, C, D, several of them (``"ABC"``, in turn), or a YAML file; ``sentences``:
    ``train``, or ``test``, which are held out; ``disturbances``: names of
    :mod:`~forehand_tabletop.chains.disturbances`, which every episode then has; ``preceding_tasks``: up to how many other
    tasks the expert does, unrecorded, before a single task begins, so that hand and objects start as within a chain;
    ``max_steps``: control steps that an instruction may take, CALVIN's 360 by default.

    What an expert does need not follow from what is seen. ``styles``: of ``direct``, ``left`` and ``right``, those that
    the expert approaches in, one of them an episode, drawn by its seed; ``vague_sentences``: a sentence about a block
    does not say which, and an episode is accomplished with any; ``either_order``: an episode, but none of a chain, asks
    for two tasks, of which the expert does one first, drawn by the seed.
    """

    robots = ("TabletopChainsRobot",)
    tasks: Sequence[str] = tuple(TASKS)
    annotations = ("variant", STYLE, FIRST)

    def __init__(
        self,
        variant: str = "D",
        sentences: str = "test",
        disturbances: Sequence[str] = (),
        preceding_tasks: int = 0,
        styles: Sequence[str] = (DIRECT,),
        vague_sentences: bool = False,
        either_order: bool = False,
        max_steps: int = MAX_STEPS,
    ) -> None:
        if max_steps < 1:
            raise ConfigurationError(f"max_steps must be at least 1, not {max_steps}.")
        if preceding_tasks < 0:
            raise ConfigurationError(f"preceding_tasks must be 0 or a positive number, not {preceding_tasks}.")
        self.variants = (variant,) if variant.endswith((".yaml", ".yml")) else tuple(variant)
        for name in self.variants:
            load_variant(name)
        self.split, self.preceding_tasks, self.max_steps = sentences, preceding_tasks, max_steps
        self.styles, self.vague = require_styles(styles), vague_sentences
        self.either_order = either_order
        if either_order:
            self.tasks = PAIRED
        self.disturbances = disturbed(disturbances)

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes of one task each, evenly over ``tasks``, each in a scene in which it is possible.

        The task ``play``, which is not a default one, has neither instruction nor success condition. A shorter list with
        the same arguments is a prefix of a longer one.
        """
        names = self.tasks if tasks is None else tasks
        for name in names:
            if name not in TASKS and name != PLAY:
                raise UnknownName(f"The benchmark 'tabletop-chains' has no task {name!r}. {nearest(name, TASKS)}")
            if self.either_order and name in TASKS and name not in PAIRED:
                raise ConfigurationError(
                    f"either_order: {name!r} begins or ends with a block in the hand, and so cannot be one of two tasks."
                )
        if not names or count < 0:
            raise ConfigurationError(f"Cannot make {count} episodes of the tasks {list(names)}.")
        seeds = random.Random(seed).sample(range(2**31), count)
        return [self._episode(names[i % len(names)], i // len(names), s) for i, s in enumerate(seeds)]

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """The first ``count`` of the thousand chains of five; with ``tasks``, single episodes of these instead."""
        if tasks is not None:
            return super().trials(count, seed, tasks)
        self._require_chains()
        return [self._chain(number, scene) for number, scene in enumerate(_scenes(count, seed))]

    def trial(self, number: int, seed: int, tasks: Sequence[str] | None = None) -> tuple[Episode, ...]:
        """The trial of this number, without making those before it."""
        if tasks is not None:
            return super().trial(number, seed, tasks)
        self._require_chains()
        return self._chain(number, _scenes(number + 1, seed)[number])

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """The scripted expert, which needs the simulator in this process; ``seed`` matters to the task ``play`` alone."""
        from forehand_tabletop.chains.experts import ChainExpert, PairExpert  # the simulator: not needed to list episodes
        from forehand_tabletop.chains.play import PlayExpert
        from forehand_tabletop.chains.robot import TabletopChainsRobot

        if not isinstance(robot, TabletopChainsRobot):
            raise ConfigurationError(
                f"The expert of tabletop-chains reads the simulator's state, so it needs the robot 'tabletop-chains' in "
                f"its own process; it was given {indefinite(type(robot).__name__)}."
            )
        if episode.task == PLAY:
            return PlayExpert(robot, seed)
        style = str(episode.options.get(STYLE, DIRECT))
        if SECOND in episode.options:
            tasks = sorted((episode.task, str(episode.options[SECOND])), key=lambda t: t != episode.options[FIRST])
            return PairExpert(robot, tasks, robot.start, style)
        return ChainExpert(robot, episode.task, robot.start, style)

    def showcases(self, seed: int) -> list[Showcase]:
        """Every environment (A to D and the chosen ones), task and disturbance, and a chain."""
        return showcases(type(self), self.variants, seed)

    def counterfactual_instruction(self, episode: Episode) -> str:
        """A sentence of another task that is possible in the same scene; the same one each time."""
        rng = random.Random(episode.seed)
        others = [name for name in TASKS if name != episode.task and name.split("_")[0] != episode.task.split("_")[0]]
        return rng.choice(sentences(rng.choice(others), self.split, vague=self.vague))

    def redrawn(self, trial: tuple[Episode, ...]) -> tuple[Episode, ...]:
        """The same tasks and start, with hand, blocks and disturbances elsewhere."""
        return tuple(replace(episode, seed=redrawn_seed(episode.seed)) for episode in trial)

    def _require_chains(self) -> None:
        if self.either_order:
            raise ConfigurationError(
                f"either_order is for single episodes, and these are chains. Add tasks=[{PAIRED[0]},…], for episodes."
            )

    def _chain(self, number: int, scene: int) -> tuple[Episode, ...]:
        rng, chain = random.Random(scene), frozen_chains()[number]
        options = self._scene_options(number) | chain.start.to_dict() | self._expert_options(scene)
        instructions = [rng.choice(sentences(task, self.split, vague=self.vague)) for task in chain.tasks]
        return tuple(
            Episode(task, sentence, scene, self.max_steps, options, continues=position > 0)
            for position, (task, sentence) in enumerate(zip(chain.tasks, instructions, strict=True))
        )

    def _episode(self, task: str, turn: int, seed: int) -> Episode:
        rng = random.Random(seed)
        if task == PLAY:
            return Episode(PLAY, "", seed, PLAY_STEPS, self._scene_options(turn) | random_start(rng).to_dict())
        earlier = rng.randint(0, self.preceding_tasks) if self.preceding_tasks else 0
        others: list[str] = []
        while not others:
            start, done = preceding_tasks(task, earlier, rng) if earlier else (start_for(task, rng), ())
            others = partners(task, after(start, done)) if self.either_order else [task]
        options = self._scene_options(turn) | start.to_dict() | ({PRECEDING: " ".join(done)} if done else {})
        sentence = rng.choice(sentences(task, self.split, vague=self.vague))
        if self.either_order:
            other = rng.choice(others)
            options |= {SECOND: other, FIRST: drawn_first(task, other, seed)}
            said = [sentence, rng.choice(sentences(other, self.split, vague=self.vague))]
            rng.shuffle(said)
            sentence = " and ".join(said)
        return Episode(task, sentence, seed, self.max_steps, options | self._expert_options(seed))

    def _expert_options(self, seed: int) -> dict[str, str | int | float | bool]:
        """The style drawn for an episode, where there are others than the direct one, and whether it is vague."""
        style = {} if self.styles == (DIRECT,) else {STYLE: drawn_style(self.styles, seed)}
        return {**style, **({VAGUE: True} if self.vague else {})}

    def _scene_options(self, turn: int) -> dict[str, str | int | float | bool]:
        return {"variant": self.variants[turn % len(self.variants)], **self.disturbances}


def _scenes(count: int, seed: int) -> list[int]:
    """The seed of each of the first chains' scenes."""
    if not 0 <= count <= len(frozen_chains()):
        raise ConfigurationError(f"There are {len(frozen_chains())} chains: episodes={count} must be one of 0 to that.")
    return random.Random(seed).sample(range(2**31), count)
