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
    progress: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Drive every trial once and count successes; a trial is an episode, or a chain of them that ends with a failure.

    instruction_given: the policy's instruction, by default the episode's; folder: where ``results.json``, ``table.md``
    and ``videos/`` go. Given the folder of an interrupted evaluation with the same episodes and ``setup`` (what else
    determines the outcome, as plain values), finished trials are kept and the others driven. config: the configuration to
    store, for a replay; only: the numbers of the trials to drive, default all; videos: how many, spread over the trials'
    first tasks; progress: called with the results so far, after every trial and before the first if earlier ones were
    kept.

    The result does not depend on how many robots the runner has: a trial begins on a freshly reset scene, an episode with
    a fresh session. Raises :class:`EvaluationStopped` if a robot or policy fails; on Ctrl-C the message of
    KeyboardInterrupt states what was kept.
    """
    if videos and folder is None:
        raise ConfigurationError("Videos need an output folder to be written to.")
    chains = [(trial,) if isinstance(trial, Episode) else tuple(trial) for trial in trials]
    chosen = range(len(chains)) if only is None else list(dict.fromkeys(only))
    if unknown := sorted(set(chosen) - set(range(len(chains)))):
        raise ConfigurationError(f"There are {len(chains)} trials, numbered from 0; {unknown} are not among them.")
    if instruction_given is None:
        instruction_given = _its_own
    kept = ResultsFile(folder, trial_plan(chains, instruction_given), setup or {}, config or {}) if folder else None
    finished: dict[int, list[EpisodeResult]] = {}
    for result in kept.finished() if kept else []:
        finished.setdefault(result.index, []).append(result)
    filmed = {chosen[i] for i in spread_over_tasks([chains[i][0] for i in chosen], videos)}
    about = provenance(plugins=registry().versions()) if kept else {}
    length = max(map(len, chains), default=1)

    def current() -> Evaluation:
        evaluation = Evaluation(tuple(result for i in sorted(finished) for result in finished[i]), length)
        return kept.write(evaluation, about) if kept else evaluation

    todo = [
        Trial(index, chains[index], tuple(map(instruction_given, chains[index])), folder if index in filmed else None)
        for index in chosen
        if index not in finished
    ]
    evaluation = current()
    if finished and progress is not None:
        progress(evaluation)
    if not todo:
        return evaluation
    try:
        with runner.run(todo) as driven:
            try:
                for results in driven:
                    finished[results[0].index] = results
                    evaluation = current()
                    if progress is not None:
                        progress(evaluation)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"Interrupted. {_what_is_kept(evaluation, len(chains))}") from None
    except RunnerFailed as failure:
        raise EvaluationStopped(f"{failure}\n{_what_is_kept(evaluation, len(chains))}") from failure.__cause__
    if missing := [index for index in chosen if index not in finished]:
        raise EvaluationStopped(
            f"Of the trials, {missing} were not driven to their end.\n{_what_is_kept(evaluation, len(chains))}"
        )
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


def _what_is_kept(evaluation: Evaluation, planned: int) -> str:
    done = len(evaluation.lengths)
    if evaluation.folder is None:
        return f"{done} of {planned} episodes were finished; nothing is kept without an output folder."
    return (
        f"{done} of {planned} finished episodes are kept in {evaluation.folder}; "
        f"the same command with output={evaluation.folder} continues from there."
    )
