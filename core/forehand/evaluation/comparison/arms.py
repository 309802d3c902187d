"""Arms: evaluations of one kind of policy, trained with several seeds, on the same scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from forehand.errors import ConfigurationError
from forehand.evaluation.comparison.statistics import Outcomes
from forehand.evaluation.open_loop.record import OPEN_LOOP, read_open_loop
from forehand.evaluation.results import read_record
from forehand.utils.differences import differences, flat
from forehand.utils.reading import read_json

SUCCESS, LENGTH, ERROR = "success rate", "average chain length", "error"
PLAN, SETUP = "scenes", "setup"
OF_AN_ARM = ("policy", "policy_facts", "notes", "environment", "foresight", "foresight_bank")
"""What may differ in the setups of evaluations that are compared."""


@dataclass(frozen=True)
class Run:
    """One evaluation: of which arm and training seed, and what came of each scene.

    measure: what ``values`` (scenes,) are, larger being better unless ``lower`` says otherwise. scenes: what identifies
    each; tasks: that of each. success: whether each scene's whole trial, or its first ``k + 1`` episodes, succeeded,
    (scenes, K); None where there is no success. conditions: what has to be the same in runs that are compared.
    intervention: what stood in for the policy's foresight, None for its own; fingerprint: of the weights, if known.
    """

    folder: Path
    arm: str
    seed: int | str
    measure: str
    scenes: tuple[str, ...]
    tasks: tuple[str, ...]
    values: Outcomes
    success: Outcomes | None
    conditions: Mapping[str, Any]
    lower: bool = False
    intervention: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Arm:
    """The runs of one arm, by training seed."""

    name: str
    runs: Mapping[int | str, Run]

    @cached_property
    def seeds(self) -> tuple[int | str, ...]:
        """The training seeds, in order."""
        return tuple(sorted(self.runs, key=lambda seed: (isinstance(seed, str), seed)))


def read_run(folder: Path, arm: str, seed: int | str, field: str | None = None) -> Run:
    """The evaluation in ``folder``, of success or open loop.

    field: of the action, whose error an open-loop one is compared by, default the first. Raises
    :class:`ConfigurationError` for one that is not finished, or not there.
    """
    return _open_loop_run(folder, arm, seed, field) if (folder / OPEN_LOOP).is_file() else _run(folder, arm, seed)


def pair(runs: Sequence[Run]) -> list[Arm]:
    """The arms of ``runs``, in their order, each with the same training seeds and scenes.

    Raises :class:`ConfigurationError` naming what stands in the way: other scenes, other conditions, a seed that only one
    arm has, two runs of one arm and seed.
    """
    arms: dict[str, dict[int | str, Run]] = {}
    first = runs[0]
    for run in runs:
        if run.measure != first.measure or run.scenes != first.scenes:
            raise ConfigurationError(f"{first.folder} and {run.folder} cannot be paired: {_differing(first, run)}.")
        if found := differences(flat(first.conditions), flat(run.conditions)):
            listing = "\n".join(f"  - {one}" for one in found)
            raise ConfigurationError(f"{first.folder} and {run.folder} were judged under other conditions:\n{listing}")
        held = arms.setdefault(run.arm, {})
        if run.seed in held:
            raise ConfigurationError(
                f"{held[run.seed].folder} and {run.folder} are both of arm {run.arm!r} and training seed {run.seed}. "
                f"Leave one out, or name the arms: arms={{name: [folder, …]}}."
            )
        held[run.seed] = run
    if len(arms) < 2:
        raise ConfigurationError(f"All runs are of one arm, {first.arm!r}: there is nothing to compare it with.")
    wanted = set(arms[first.arm])
    for name, held in arms.items():
        if odd := sorted(map(str, wanted ^ set(held))):
            raise ConfigurationError(
                f"Arms {first.arm!r} and {name!r} cannot be paired by training seed: only one of them has "
                f"{', '.join(odd)}. Evaluate the missing ones, or leave these out."
            )
    return [Arm(name, held) for name, held in arms.items()]


def _run(folder: Path, arm: str, seed: int | str) -> Run:
    record = read_record(folder)
    trials = record.trials
    found: dict[int, list[bool | None]] = {}
    for episode in record.episodes:
        found.setdefault(episode.index, []).append(episode.success)
    if missing := [i for i in range(len(trials)) if i not in found]:
        raise ConfigurationError(f"{folder} is not finished: trials {missing[:20]} are missing. Finish or merge it.")
    if any(success is None for of in found.values() for success in of):
        raise ConfigurationError(f"{folder} has episodes whose success is not known, which cannot be compared.")
    longest = max(map(len, trials))
    in_a_row = np.array([sum(map(bool, found[i])) for i in range(len(trials))], np.float64)
    success = (in_a_row[:, None] > np.arange(longest)).astype(np.float64)
    entries: dict[int, list[Any]] = {}
    for entry in record.plan:
        entries.setdefault(entry["trial"], []).append({k: v for k, v in entry.items() if k != "trial"})
    scenes = tuple(json.dumps(of, sort_keys=True) for of in entries.values())
    conditions = {k: v for k, v in record.setup.items() if k not in OF_AN_ARM}
    return Run(
        folder,
        arm,
        seed,
        LENGTH if longest > 1 else SUCCESS,
        scenes,
        tuple(trial[0].task for trial in trials),
        in_a_row,
        success,
        conditions,
        intervention=record.setup.get("foresight"),
        fingerprint=record.setup.get("policy_facts", {}).get("fingerprint"),
    )


def _open_loop_run(folder: Path, arm: str, seed: int | str, field: str | None) -> Run:
    record, data = read_open_loop(folder), read_json(folder / OPEN_LOOP)
    if not data["complete"]:
        raise ConfigurationError(f"{folder} is not finished. The same command continues it.")
    names = [one["name"] for one in data["fields"]]
    if (chosen := names[0] if field is None else field) not in names:
        raise ConfigurationError(f"field: {folder} has no field {chosen!r} of the action; it has {', '.join(names)}.")
    place = names.index(chosen)
    judged = [one for one in data["episodes"] if one.get("fields")]
    values = np.array([one["fields"][place]["error"] for one in judged], np.float64)
    unit = data["fields"][place]["unit"]
    measure = f"{ERROR} of {chosen}{f' in {unit}' if unit else ''}"
    scenes = tuple(f"episode {one['number']} of source {one['source']}" for one in judged)
    conditions = {"dataset": [one["fingerprint"] for one in record.setup["dataset"]], "every": record.setup["every"]}
    tasks = tuple(one.get("kind") or one["task"] for one in judged)
    ahead = record.setup.get("foresight")
    return Run(folder, arm, seed, measure, scenes, tasks, values, None, conditions, lower=True, intervention=ahead)


def _differing(first: Run, other: Run) -> str:
    if first.measure != other.measure:
        return f"one is of {first.measure}, the other of {other.measure}"
    if len(first.scenes) != len(other.scenes):
        return f"they have {len(first.scenes)} and {len(other.scenes)} scenes"
    number = next(i for i, (a, b) in enumerate(zip(first.scenes, other.scenes, strict=True)) if a != b)
    return f"scene {number} differs: {first.scenes[number]} and {other.scenes[number]}"
