"""Benchmark ``calvin``: the thousand chains of the long-horizon evaluation, and single tasks from drawn states."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from forehand import Benchmark, Episode
from forehand.benchmark import departure_notes, redrawn_seed
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand_calvin.chains import COUNT, Chain, chains, starts
from forehand_calvin.checkout import commit, find_checkout
from forehand_calvin.robot import HASHED, SCENE
from forehand_calvin.sentences import sentences as sentences_of
from forehand_calvin.simulation import require_known
from forehand_calvin.tasks import TASKS, State

PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "calvin": {"episodes": COUNT},
    "seer": {"episodes": COUNT, "chunking": {"name": "receding_horizon", "steps": 1}, "binary_gripper": True},
}
"""Protocol → options of ``forehand eval``. Both are Mees et al.'s; Seer's also says how actions are carried out."""

MAX_STEPS = 360  # control steps of each task


class CalvinBenchmark(Benchmark):
    """The chains in one ``scene``, each task under one of its ``sentences`` and at most ``max_steps`` control steps long.

    ``protocol``: one of :data:`PROTOCOLS`; ``sentences``: as :func:`~forehand_calvin.sentences.sentences` takes them.
    ``renderer``, ``checkout``, ``environment``: as the robot has them, for :attr:`notes`, which say whatever is not as
    the protocol has it.
    """

    robots = ("CalvinRobot",)
    annotations = (SCENE,)
    tasks = tuple(TASKS)

    def __init__(
        self,
        scene: str = "D",
        protocol: str = "calvin",
        sentences: str = "validation",
        max_steps: int = MAX_STEPS,
        renderer: str = "egl",
        checkout: str | None = None,
        environment: str | None = None,
    ) -> None:
        require_known(scene, renderer)
        if protocol not in PROTOCOLS:
            raise UnknownName(f"There is no protocol of CALVIN called {protocol!r}. {nearest(protocol, PROTOCOLS)}")
        if max_steps < 1:
            raise ConfigurationError(f"max_steps={max_steps}: a task has at least one control step.")
        self.scene, self._protocol, self._limit = scene, protocol, max_steps
        self._sentences = sentences_of(sentences)
        settings = {
            "scene": ("D", scene),
            "sentences": ("validation", sentences),
            "max_steps": (MAX_STEPS, max_steps),
            "renderer": ("egl", renderer),
        }
        self.notes = (
            f"CALVIN by the protocol {protocol}: scene {scene}, {max_steps} steps a task, history cleared between tasks",
            *_simulator(checkout, environment),
            *departure_notes(settings),
        )

    def evaluation_options(self, tasks: Sequence[str] | None = None) -> Mapping[str, Any]:
        """All chains, and how the protocol carries out a policy's actions."""
        options = dict(PROTOCOLS[self._protocol])
        return options if tasks is None else {key: value for key, value in options.items() if key != "episodes"}

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes evenly over ``tasks``, by default those that are possible without another before them.

        Each has a symbolic state that its task is possible in, and poses, drawn by a seed of its own.
        """
        chosen = [task for task in self.tasks if _starts(task)] if tasks is None else list(tasks)
        for task in chosen:
            if task not in TASKS:
                raise UnknownName(f"CALVIN has no task {task!r}. {nearest(task, TASKS)}")
            if not _starts(task):
                raise ConfigurationError(
                    f"{task} is possible only after another task, so only within chains (tasks=null)."
                )
        if not chosen:
            raise ConfigurationError("tasks=[] names none; leave it out for all.")
        seeds = random.Random(seed).sample(range(2**31), count)
        return [self._single(chosen[i % len(chosen)], one) for i, one in enumerate(seeds)]

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """The first ``count`` chains; with ``tasks``, single episodes of these. ``seed`` draws sentences."""
        if tasks is not None:
            return super().trials(count, seed, tasks)
        if not 0 <= count <= COUNT:
            raise ConfigurationError(f"There are {COUNT} chains: episodes={count} must be one of 0 to that.")
        seeds = random.Random(seed).sample(range(2**31), count)
        return [self._chain(chain, one) for chain, one in zip(chains()[:count], seeds, strict=True)]

    def counterfactual_instruction(self, episode: Episode) -> str:
        """The sentence of another task that is possible in the state at the beginning, drawn by the episode's seed."""
        rng = random.Random(f"{episode.seed} {episode.task}")
        state: State = {key: value for key, value in episode.options.items() if isinstance(value, (str, int))}
        category = TASKS[episode.task].category
        others = [
            n for n, task in TASKS.items() if task.category != category and task.results(state) and n in self._sentences
        ]
        return rng.choice(self._sentences[rng.choice(others)])

    def redrawn(self, trial: tuple[Episode, ...]) -> tuple[Episode, ...]:
        """The same tasks and symbolic state, with blocks where the seed puts them rather than the published hash."""
        return tuple(
            replace(episode, seed=redrawn_seed(episode.seed), options={**episode.options, HASHED: False})
            for episode in trial
        )

    def _chain(self, chain: Chain, seed: int) -> tuple[Episode, ...]:
        rng = random.Random(seed)
        options = self._options(chain.start, hashed=True)
        return tuple(
            Episode(task, self._sentence(task, rng), seed, self._limit, options, continues=position > 0)
            for position, task in enumerate(chain.tasks)
        )

    def _single(self, task: str, seed: int) -> Episode:
        rng = random.Random(seed)
        options = self._options(rng.choice(_starts(task)), hashed=False)
        return Episode(task, self._sentence(task, rng), seed, self._limit, options)

    def _options(self, start: State, hashed: bool) -> dict[str, str | int | float | bool]:
        return {SCENE: self.scene, HASHED: hashed, **start}

    def _sentence(self, task: str, rng: random.Random) -> str:
        if task not in self._sentences:
            raise ConfigurationError(f"The file of sentences has none for the task {task}.")
        return rng.choice(self._sentences[task])


def _simulator(checkout: str | None, environment: str | None) -> list[str]:
    """Which calvin_env it is, where that is known here; robots elsewhere have their own."""
    with suppress(ConfigurationError):
        return [f"calvin_env at commit {commit(find_checkout(checkout, environment))}"]
    return []


def _starts(task: str) -> list[State]:
    """The states that episodes may begin from and in which ``task`` is possible."""
    return [start for start in starts() if TASKS[task].results(start)]
