"""``forehand view``: what a policy foresaw in trials of an evaluation, driven once more, on one page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand import Benchmark, Episode, Policy, Robot
from forehand.control.chunking import ActionChunker
from forehand.errors import ConfigurationError
from forehand.evaluation.evaluate import chosen_trials, spread_over_tasks
from forehand.evaluation.foresight_observer import ForesightObserver
from forehand.evaluation.results import EvaluationRecord, read_record
from forehand.running.rollout import Outcome, rollout
from forehand.utils.files import replacing
from forehand.utils.numbers import count
from forehand.utils.progress import progress
from forehand.utils.renames import renamed_keys
from forehand_apps.cli.instantiate import (
    SOURCES,
    chunker_factory,
    contract_of,
    make,
    make_robot,
    open_local_policy,
    policy_source,
)
from forehand_apps.evaluation.interventions import intervened
from forehand_apps.evaluation.make_runner import latency_of
from forehand_apps.pages.foresight import PARTS, view_page, write_films

PAGE = "foresight.html"


def view(config: DictConfig) -> None:
    """Drive the trials that are not kept yet, and write the page."""
    if config.evaluation is None:
        raise ConfigurationError("No evaluation was given: forehand view EVALUATION, the output folder of forehand eval.")
    count(**{"episodes": config.episodes, "image_height": config.image_height})
    folder = Path(str(config.evaluation)).expanduser()
    record = read_record(folder)
    output = folder if config.output is None else Path(str(config.output)).expanduser()
    settings = _settings(config, record)
    trials = _chosen(config, record)
    shown = []
    with ExitStack() as stack, progress("looking", len(trials)) as show:
        viewer = stack.enter_context(closing(_Viewer(config, settings, record, output / PARTS)))
        try:
            for number in trials:
                shown.append(viewer.part(number))
                show(len(shown), "")
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Interrupted. {len(shown)} of {len(trials)} are kept in {output / PARTS}; the same command continues."
            ) from None
    with replacing(output / PAGE) as staging:
        staging.write_text(view_page(folder, record, output / PARTS, shown), encoding="utf-8")
    print(f"look at {output / PAGE}")


def failures_first(record: EvaluationRecord, wanted: int) -> list[int]:
    """The numbers of ``wanted`` finished trials, spread over tasks: failures, and a success if there is one."""
    last = {episode.index: episode for episode in record.episodes}  # of each trial
    failed = [i for i, episode in last.items() if not episode.success]
    solved = [i for i, episode in last.items() if episode.success]
    most = wanted - 1 if solved and wanted > 1 else wanted
    chosen = _spread(record, failed, most)
    return [*chosen, *_spread(record, solved, wanted - len(chosen))]


def _spread(record: EvaluationRecord, numbers: Sequence[int], wanted: int) -> list[int]:
    first = [record.trials[i][0] for i in numbers]
    return [numbers[i] for i in sorted(spread_over_tasks(first, wanted))]


def _chosen(config: DictConfig, record: EvaluationRecord) -> list[int]:
    done = {episode.index for episode in record.episodes}
    if config.trials is None:
        chosen = failures_first(record, config.episodes)
    else:
        chosen = chosen_trials(record.trials, list(config.trials))
    if missing := [i for i in chosen if i not in done] or not chosen:
        raise ConfigurationError(
            f"trials: {missing or 'none'} are finished in {record.folder}; these are: {sorted(done)}."
        )
    return chosen


def _settings(config: DictConfig, record: EvaluationRecord) -> DictConfig:
    """The evaluation's own configuration, with a policy and a robot of this process."""
    if not record.config:
        raise ConfigurationError(f"The manifest in {record.folder} has no configuration, so its trials cannot be driven.")
    settings = OmegaConf.create(renamed_keys(record.config, command="eval"))
    assert isinstance(settings, DictConfig)
    place = config.policy.checkpoint
    if place is None and policy_source(settings.policy) == "address":
        place = record.setup.get("policy_facts", {}).get("checkpoint")
        if place is None or not Path(str(place)).exists():
            raise ConfigurationError(
                f"{record.folder} is of a policy that was served. Give its checkpoint: policy.checkpoint=…"
            )
    if place is not None:
        OmegaConf.update(settings, "policy", {**dict.fromkeys(SOURCES), "checkpoint": str(place)}, merge=True)
    if policy_source(settings.policy) == "expert":
        raise ConfigurationError(f"{record.folder} is of the benchmark's expert, which foresees nothing.")
    if settings.robot.name == "remote":
        raise ConfigurationError(f"{record.folder} is of a robot elsewhere, whose trials cannot be driven here.")
    changes = {"policy": {"device": config.policy.device}, "robots": [], "workers": 1}
    merged = OmegaConf.merge(settings, changes)
    assert isinstance(merged, DictConfig)
    return merged


class _Viewer:
    """Drives trials of an evaluation under observation; what is kept already needs neither policy nor robot."""

    def __init__(self, config: DictConfig, settings: DictConfig, record: EvaluationRecord, parts: Path) -> None:
        self._config, self._settings, self._record, self._parts = config, settings, record, parts
        self._made: tuple[Robot, Benchmark, Policy, Callable[[], ActionChunker]] | None = None
        parts.mkdir(parents=True, exist_ok=True)

    def part(self, number: int) -> dict[str, Any]:
        """What the page has of one trial."""
        about = {
            "setup": self._record.setup,
            "trial": [str(episode) for episode in self._record.trials[number]],
            "view": [self._config.otherwise, self._config.image_height],
        }
        key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:12]
        path = self._parts / f"{number:04d}-{key}.json"
        if not path.exists():
            found = self._drive(number, path.stem)
            with replacing(path) as staging:
                staging.write_text(json.dumps(found), encoding="utf-8")
        part: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return part

    def _drive(self, number: int, stem: str) -> dict[str, Any]:
        robot, benchmark, policy, chunking = self._tools()
        then = [episode for episode in self._record.episodes if episode.index == number]
        instructions = {(e["trial"], e["instruction"], e["seed"]): e["heard"] for e in self._record.plan}
        latency = latency_of(self._settings)
        for position, episode in enumerate(self._record.trials[number][: len(then)]):
            given = instructions[number, episode.instruction, episode.seed]
            if position < len(then) - 1:
                if not rollout(robot, policy, episode, chunking(), instruction=given, latency=latency).success:
                    break
                continue
            otherwise = self._otherwise(benchmark, episode, given)
            with ForesightObserver(policy, given, episode.seed, otherwise, **_of_a_composition(policy)) as observer:
                outcome = rollout(
                    robot, policy, episode, chunking(), instruction=given, latency=latency, on_step=observer.on_step
                )
            films = write_films(self._parts / stem, observer, policy.contract, self._config.image_height)
            return films | self._facts(number, episode, given, otherwise, outcome, then[-1].success)
        raise ConfigurationError(
            f"trial {number} of {self._record.folder} failed earlier than it did when it was evaluated."
        )

    @staticmethod
    def _facts(
        number: int, episode: Episode, given: str, otherwise: str | None, outcome: Outcome, then: bool | None
    ) -> dict[str, Any]:
        return {
            "trial": number,
            "task": episode.task,
            "instruction": episode.instruction,
            "given": given,
            "otherwise": otherwise,
            "success": outcome.success,
            "steps": outcome.steps,
            "then": then,
        }

    def _otherwise(self, benchmark: Benchmark, episode: Episode, given: str) -> str | None:
        if self._config.otherwise is not None:
            return str(self._config.otherwise)
        if given != episode.instruction:
            return episode.instruction
        try:
            return benchmark.counterfactual_instruction(episode)
        except NotImplementedError:
            return None

    def _tools(self) -> tuple[Robot, Benchmark, Policy, Callable[[], ActionChunker]]:
        if self._made is None:
            settings = self._settings
            robot, benchmark = make_robot(settings.robot), make("benchmark", settings.benchmark)
            policy = open_local_policy(settings.policy, lambda: contract_of(robot))
            intervened(settings, policy, benchmark, [robot])
            known, found = (
                facts.get("fingerprint") for facts in (self._record.setup.get("policy_facts", {}), policy.describe())
            )
            if known is not None and found != known:
                raise ConfigurationError(
                    f"policy.checkpoint: {self._record.folder} evaluates other weights: their fingerprint is {known}, "
                    f"and here it is {found}."
                )
            chunker = chunker_factory(settings)
            robot.connect()
            policy = policy.for_robot(robot.contract)
            self._made = robot, benchmark, policy, lambda: chunker(policy.contract)
        return self._made

    def close(self) -> None:
        """Let go of the robot."""
        if self._made is not None:
            self._made[0].close()


def _of_a_composition(policy: Policy) -> dict[str, Any]:
    """Options of the observer for a policy whose parts are known."""
    from forehand.compose import ComposedPolicy
    from forehand.compose.attention import action_attention
    from forehand.compose.forecasts import patch_features

    if not isinstance(policy, ComposedPolicy):
        return {}
    return {
        "attention": lambda session: action_attention(policy, session),
        "features": lambda observation: patch_features(policy, observation),
        "method": policy.resize,
    }
