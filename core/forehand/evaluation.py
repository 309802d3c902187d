"""How often a policy succeeds: seeded episodes, on one robot or several, kept as they finish."""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from forehand.contract import require_fit
from forehand.errors import ConfigurationError, ForehandError
from forehand.execution import Execution, RecedingHorizon
from forehand.film import Film
from forehand.policy import Policy, Prediction, Session
from forehand.provenance import provenance
from forehand.results import EpisodeResult, Evaluation, ResultsFile, trial_plan
from forehand.robot import Episode, Observation, Robot
from forehand.rollout import Stopped, rollout

VIDEOS = "videos"


class EvaluationStopped(ForehandError):
    """A robot or the policy failed in mid-evaluation; finished episodes are kept."""


def evaluate(
    policy: Policy | Sequence[Policy],
    robots: Sequence[Robot],
    trials: Sequence[Episode | Sequence[Episode]],
    *,
    execution: Callable[[], Execution] = RecedingHorizon,
    heard: Callable[[Episode], str] | None = None,
    folder: Path | None = None,
    setup: Mapping[str, Any] | None = None,
    videos: int = 0,
    progress: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Drive every trial once and count successes; a trial is an episode, or a chain of them that ends with a failure.

    policy: one for all robots (they take turns at it), or one for each robot (asked side by side, such as clients of one
    server); robots: not yet connected, each driven in a thread of its own; heard: what the policy is told instead of the
    episode's instruction; folder: where ``results.json``, ``table.md`` and ``videos/`` go. Given the folder of an
    interrupted evaluation with the same episodes and ``setup`` (whatever else decides the outcome, as plain values),
    finished trials are kept and the others driven. videos: of how many trials, spread over their first tasks; progress:
    called with all that is finished, after every trial and before the first if earlier ones were kept.

    The result does not depend on the number of robots: a trial begins on a freshly reset scene, an episode with a fresh
    session.
    Raises :class:`EvaluationStopped` if a robot or policy fails; on Ctrl-C KeyboardInterrupt tells what was kept.
    """
    if not robots:
        raise ConfigurationError("An evaluation needs at least one robot.")
    if videos and folder is None:
        raise ConfigurationError("Videos need an output folder to be written to.")
    policies = [policy] * len(robots) if isinstance(policy, Policy) else list(policy)
    if len(policies) != len(robots):
        raise ConfigurationError(f"{len(robots)} robots need one policy, or one each; not {len(policies)}.")

    chains = [(trial,) if isinstance(trial, Episode) else tuple(trial) for trial in trials]
    if heard is None:
        heard = _its_own
    kept = ResultsFile(folder, trial_plan(chains, heard), setup or {}) if folder else None
    finished: dict[int, list[EpisodeResult]] = {}
    for result in kept.finished() if kept else []:
        finished.setdefault(result.index, []).append(result)
    filmed = spread([chain[0] for chain in chains], videos)
    about = provenance() if kept else {}
    length = max(map(len, chains), default=1)

    def current() -> Evaluation:
        evaluation = Evaluation(tuple(result for i in sorted(finished) for result in finished[i]), length)
        return kept.write(evaluation, about) if kept else evaluation

    todo: queue.SimpleQueue[_Task] = queue.SimpleQueue()
    for index, chain in enumerate(chains):
        if index not in finished:
            todo.put(_Task(index, chain, tuple(map(heard, chain)), folder if index in filmed else None))

    evaluation = current()
    if finished and progress is not None:
        progress(evaluation)
    if todo.empty():
        return evaluation
    with _Crew(policies, robots, execution, todo) as crew:
        try:
            for results in crew.results():
                finished[results[0].index] = results
                evaluation = current()
                if progress is not None:
                    progress(evaluation)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"Interrupted. {_what_is_kept(evaluation, len(chains))}") from None
    if crew.failure is not None:
        where, error = crew.failure
        what = str(error) if isinstance(error, ForehandError) else f"{type(error).__name__}: {error}"
        raise EvaluationStopped(f"{where}: {what}\n{_what_is_kept(evaluation, len(chains))}") from error
    return evaluation


def spread(episodes: Sequence[Episode], count: int) -> set[int]:
    """Indices of ``count`` episodes taken in turn from each task."""
    by_task: dict[str, list[int]] = {}
    for index, episode in enumerate(episodes):
        by_task.setdefault(episode.task, []).append(index)
    in_turn = [i for turn in zip_longest(*by_task.values()) for i in turn if i is not None]
    return set(in_turn[:count])


@dataclass(frozen=True)
class _Task:
    index: int
    episodes: tuple[Episode, ...]
    heard: tuple[str, ...]
    film_in: Path | None


class _TakingTurns(Policy):
    """A policy that several robots share, asked by one at a time: weights need not be safe to use from many threads."""

    def __init__(self, policy: Policy, lock: threading.Lock) -> None:
        self.policy, self.lock = policy, lock
        self.contract, self.history = policy.contract, policy.history

    def open(self, instruction: str) -> Session:
        with self.lock:
            return self.policy.open(instruction)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        with self.lock:
            return self.policy.step(sessions, observations, forecast=forecast)

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        with self.lock:
            self.policy.remember(session, observations)


class _Crew:
    """One thread for each robot; on leaving, all have stopped and every robot is closed."""

    def __init__(
        self,
        policies: Sequence[Policy],
        robots: Sequence[Robot],
        execution: Callable[[], Execution],
        todo: queue.SimpleQueue[_Task],
    ) -> None:
        self.failure: tuple[str, Exception] | None = None
        self._todo = todo
        self._done: queue.SimpleQueue[list[EpisodeResult] | None] = queue.SimpleQueue()
        self._no_more = threading.Event()  # take no new episode
        self._give_up = threading.Event()  # and leave the running one
        locks: dict[int, threading.Lock] = {}
        self._threads = []
        for number, (robot, policy) in enumerate(zip(robots, policies, strict=True), start=1):
            shared = _TakingTurns(policy, locks.setdefault(id(policy), threading.Lock()))
            name = f"Robot {number} of {len(robots)}" if len(robots) > 1 else "The robot"
            arguments = (name, robot, shared, execution)
            self._threads.append(threading.Thread(target=self._work, args=arguments, name=name, daemon=True))

    def __enter__(self) -> _Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._no_more.set()
        self._give_up.set()
        for thread in self._threads:
            thread.join()

    def results(self) -> Iterator[list[EpisodeResult]]:
        """Each trial as it finishes, until all threads have ended."""
        running = len(self._threads)
        while running:
            results = self._done.get()
            if results is None:
                running -= 1
            else:
                yield results

    def _work(self, name: str, robot: Robot, policy: Policy, execution: Callable[[], Execution]) -> None:
        where = f"{name} could not be connected"
        try:
            # A simulator's renderer belongs to the thread that opened it, so everything happens in this one.
            robot.connect()
            where = f"{name} and the policy do not go together"
            require_fit(policy.contract, robot.contract, "the policy", "the robot")
            while not self._no_more.is_set():
                try:
                    task = self._todo.get_nowait()
                except queue.Empty:
                    break
                results: list[EpisodeResult] = []
                for position, episode in enumerate(task.episodes):
                    where = f"Episode {task.index} ({episode.task}, seed {episode.seed}) was broken off"
                    results.append(_drive(task, position, robot, policy, execution(), self._give_up.is_set))
                    if not results[-1].success:
                        break
                self._done.put(results)
        except Stopped:
            pass
        except Exception as error:  # a driver may fail in any way; the main thread tells it
            self.failure = self.failure or (where, error)
            self._no_more.set()
        finally:
            with contextlib.suppress(Exception):
                robot.close()
            self._done.put(None)


def _drive(
    task: _Task, position: int, robot: Robot, policy: Policy, execution: Execution, stop: Callable[[], bool]
) -> EpisodeResult:
    start = time.monotonic()
    episode, heard = task.episodes[position], task.heard[position]
    number = f"{task.index:04d}" if len(task.episodes) == 1 else f"{task.index:04d}-{position + 1}"
    video: Path | None = None
    if task.film_in is None:
        outcome = rollout(robot, policy, episode, execution, instruction=heard, stop=stop)
    else:
        folder = task.film_in / VIDEOS
        folder.mkdir(parents=True, exist_ok=True)
        staging = folder / f".{number}.mp4"
        cameras = [c.name for c in policy.contract.cameras]
        caption = heard if heard == episode.instruction else f"{heard}  (asked: {episode.instruction})"
        try:
            with Film(staging, cameras, robot.contract.rate, caption) as film:
                outcome = rollout(
                    robot, policy, episode, execution, instruction=heard, forecast=True, watch=film.watch, stop=stop
                )
        except BaseException:
            staging.unlink(missing_ok=True)
            raise
        video = folder / video_name(number, heard, outcome.success)
        staging.replace(video)
    return EpisodeResult(
        index=task.index,
        task=episode.task,
        instruction=episode.instruction,
        heard=heard,
        seed=episode.seed,
        success=outcome.success,
        steps=outcome.steps,
        seconds=round(time.monotonic() - start, 3),
        video=str(video.relative_to(task.film_in)) if video and task.film_in else None,
        position=position,
    )


def video_name(number: str, instruction: str, success: bool) -> str:
    """For instance ``0007_lift-the-red-block_success.mp4``."""
    words = re.sub(r"[^\w]+", "-", instruction.lower()).strip("-")[:60]
    return f"{number}_{words}_{'success' if success else 'failure'}.mp4"


def _its_own(episode: Episode) -> str:
    return episode.instruction


def _what_is_kept(evaluation: Evaluation, planned: int) -> str:
    done = len(evaluation.lengths)
    if evaluation.folder is None:
        return f"{done} of {planned} episodes were finished; nothing is kept without an output folder."
    return (
        f"{done} of {planned} finished episodes are kept in {evaluation.folder}; "
        f"the same command with output={evaluation.folder} goes on from there."
    )
