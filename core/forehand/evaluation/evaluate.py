"""Policy evaluation: success rates over seeded episodes, on one robot or several, saved as they finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from forehand.control.chunking import ActionChunker, RecedingHorizon
from forehand.errors import ConfigurationError, ForehandError
from forehand.evaluation.results import EpisodeResult, Evaluation, ResultsFile, trial_plan
from forehand.evaluation.runners import EpisodeRunner, RunnerFailed, ThreadRunner
from forehand.evaluation.shards import Shard
from forehand.evaluation.trials import Trial
from forehand.plugins import registry
from forehand.policy import Policy
from forehand.robot import Episode, Robot
from forehand.utils.provenance import provenance


class EvaluationStopped(ForehandError):
    """A robot or the policy failed in mid-evaluation; finished episodes are kept."""


def evaluate(
    policy: Policy | Sequence[Policy],
    robots: Sequence[Robot],
    trials: Sequence[Episode | Sequence[Episode]],
    *,
    chunking: Callable[[], ActionChunker] = RecedingHorizon,
    latency: float = 0.0,
    **options: Any,
) -> Evaluation:
    """:func:`evaluate_with` the ``robots`` in this process, a thread each.

    policy: one for all robots (behind a lock), or one for each robot (in parallel, such as clients of one server);
    robots: not yet connected; latency: of the policy, in seconds of simulated time.
    """
    return evaluate_with(ThreadRunner(policy, robots, lambda _: chunking(), latency=latency), trials, **options)


def evaluate_with(
    runner: EpisodeRunner,
    trials: Sequence[Episode | Sequence[Episode]],
    *,
    instruction_given: Callable[[Episode], str] | None = None,
    folder: Path | None = None,
    setup: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    videos: int = 0,
    only: Sequence[int] | None = None,
    shard: Shard | None = None,
    progress: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Drive every trial once and count successes; a trial is an episode, or a chain of them that ends with a failure.

    instruction_given: the policy's instruction, by default the episode's; folder: where ``results.json``, ``table.md``
    and ``videos/`` go. Given the folder of an interrupted evaluation with the same episodes and ``setup`` (what else
    determines the outcome, as plain values), finished trials are kept and the others driven. config: the configuration to
    store, for a replay; only: the numbers of the trials to drive, default all; shard: of these, the part to drive, into a
    folder of its own (:func:`forehand.evaluation.merging.merge_results` joins them); videos: how many of all, spread over
    the trials' first tasks; progress: called with the results so far, after every trial and before the first if earlier
    ones were kept.

    The result does not depend on how many robots the runner has: a trial begins on a freshly reset scene, an episode with
    a fresh session. Raises :class:`EvaluationStopped` if a robot or policy fails; on Ctrl-C the message of
    KeyboardInterrupt states what was kept.
    """
    if videos and folder is None:
        raise ConfigurationError("Videos need an output folder to be written to.")
    chains = [(trial,) if isinstance(trial, Episode) else tuple(trial) for trial in trials]
    chosen = chosen_trials(chains, only)
    filmed = {chosen[i] for i in spread_over_tasks([chains[i][0] for i in chosen], videos)}
    part = None
    if shard is not None:
        chosen = shard.part(chains, chosen)
        part = {"index": shard.index, "count": shard.count, "trials": chosen}
    if instruction_given is None:
        instruction_given = _its_own
    driven = [
        Trial(index, chains[index], tuple(map(instruction_given, chains[index])), folder if index in filmed else None)
        for index in chosen
    ]
    length = max(map(len, chains), default=1)
    if folder is None:
        return _drive(runner, driven, length, None, progress)
    results = ResultsFile(folder, trial_plan(chains, instruction_given), setup or {}, config or {}, part)
    with results.locked():
        return _drive(runner, driven, length, results, progress)


def chosen_trials(
    trials: Sequence[Sequence[Episode]], only: Sequence[int] | None = None, shard: Shard | None = None
) -> list[int]:
    """The numbers of the trials to drive: those in ``only``, default all, and of these the part of ``shard``.

    Raises :class:`ConfigurationError` for numbers that no trial has.
    """
    chosen = list(range(len(trials)) if only is None else dict.fromkeys(only))
    if unknown := sorted(set(chosen) - set(range(len(trials)))):
        raise ConfigurationError(f"There are {len(trials)} trials, numbered from 0; {unknown} are not among them.")
    return chosen if shard is None else shard.part(trials, chosen)


def _drive(
    runner: EpisodeRunner,
    trials: Sequence[Trial],
    length: int,
    kept: ResultsFile | None,
    progress: Callable[[Evaluation], None] | None,
) -> Evaluation:
    """Drive those of ``trials`` that are not ``kept`` yet."""
    finished: dict[int, list[EpisodeResult]] = {}
    for result in kept.finished() if kept else []:
        finished.setdefault(result.index, []).append(result)
    about = provenance(plugins=registry().versions()) if kept else {}

    def current() -> Evaluation:
        return Evaluation(tuple(result for i in sorted(finished) for result in finished[i]), length)

    def written() -> Evaluation:
        return kept.write(current(), about) if kept else current()

    def what_is_kept() -> str:
        return _what_is_kept(sum(trial.index in finished for trial in trials), len(trials), kept.folder if kept else None)

    evaluation = written()
    if finished and progress is not None:
        progress(evaluation)
    if not (todo := [trial for trial in trials if trial.index not in finished]):
        return evaluation
    try:
        with runner.run(todo) as driven:
            try:
                for results in driven:
                    finished[results[0].index] = results
                    evaluation = current()
                    if kept:
                        kept.add(results, evaluation, about)
                    if progress is not None:
                        progress(evaluation)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"Interrupted. {what_is_kept()}") from None
    except RunnerFailed as failure:
        raise EvaluationStopped(f"{failure}\n{what_is_kept()}") from failure.__cause__
    finally:
        evaluation = written()
    if missing := [trial.index for trial in trials if trial.index not in finished]:
        raise EvaluationStopped(f"Of the trials, {missing} were not driven to their end.\n{what_is_kept()}")
    return evaluation


def spread_over_tasks(episodes: Sequence[Episode], count: int) -> set[int]:
    """Indices of ``count`` episodes taken in turn from each task."""
    by_task: dict[str, list[int]] = {}
    for index, episode in enumerate(episodes):
        by_task.setdefault(episode.task, []).append(index)
    in_turn = [i for turn in zip_longest(*by_task.values()) for i in turn if i is not None]
    return set(in_turn[:count])


def _its_own(episode: Episode) -> str:
    return episode.instruction


def _what_is_kept(done: int, planned: int, folder: Path | None) -> str:
    if folder is None:
        return f"{done} of {planned} episodes were finished; nothing is kept without an output folder."
    return (
        f"{done} of {planned} finished episodes are kept in {folder}; "
        f"the same command with output={folder} continues from there."
    )
