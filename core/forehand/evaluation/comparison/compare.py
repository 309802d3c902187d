"""Comparison of arms with the first of them: differences, their intervals and tests, by task and by step of the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forehand.evaluation.comparison.arms import Arm
from forehand.evaluation.comparison.statistics import (
    LEVEL,
    Outcomes,
    detectable,
    holm,
    mcnemar_p,
    permutation_p,
    seeds_needed,
    superiority,
    two_way_interval,
)
from forehand.evaluation.open_loop.record import NO_POLICY

FEWEST = 6
"""Training seeds below which no paired permutation test can have p < 0.05: with n it is at least 2 / 2ⁿ."""


@dataclass(frozen=True)
class Outcome:
    """What came of one arm: ``values`` (seeds, scenes), and ``success`` (seeds, scenes, K) of 1 … K in a row, or None."""

    values: Outcomes
    success: Outcomes | None


def compare_arms(arms: Sequence[Arm]) -> dict[str, Any]:
    """Every arm against the first, as plain JSON values. The arms are those of :func:`.arms.pair`.

    The unit is the training seed. A ``difference`` is the arm's mean minus the first's; ``p`` that of the permutation
    test and ``p_holm`` the same for all arms together; ``detectable`` the smallest difference that as many seeds would
    find, and ``seeds_needed`` how many would find this one. McNemar's ``mcnemar_p`` is of two single policies, where each
    arm has one seed. Where an arm is the first one's policies under an ``intervention`` on foresight, ``reading`` says
    whether that shows that the forecast is read. ``note``: that recorded frames ahead were read, where they were.
    """
    first, *others = arms
    outcomes = {arm.name: _outcome(arm) for arm in arms}
    a_run = first.runs[first.seeds[0]]
    contrasts = [_contrast(first, other, outcomes, a_run.tasks, a_run.lower) for other in others]
    for contrast, adjusted in zip(contrasts, holm([one["p"] for one in contrasts]), strict=True):
        contrast["p_holm"] = adjusted
        contrast["verdict"] = verdict(contrast, adjusted)
    for contrast, other in zip(contrasts, others, strict=True):
        if (name := _intervention(first, other)) is not None:
            contrast |= {"intervention": name, "reading": _reading(contrast, name)}
    runs = [run for arm in arms for run in arm.runs.values()]
    foretold = any(run.success is None and run.intervention is not None for run in runs)
    return {
        "kind": "comparison",
        "measure": a_run.measure,
        **({"note": NO_POLICY} if foretold else {}),
        "lower_is_better": a_run.lower,
        "seeds": list(first.seeds),
        "scenes": len(a_run.scenes),
        "arms": [
            {
                "name": arm.name,
                "mean": float(outcomes[arm.name].values.mean()),
                "by_seed": outcomes[arm.name].values.mean(1).tolist(),
                "runs": [str(arm.runs[seed].folder) for seed in arm.seeds],
            }
            for arm in arms
        ],
        "contrasts": contrasts,
    }


def _outcome(arm: Arm) -> Outcome:
    runs = [arm.runs[seed] for seed in arm.seeds]
    known = [run.success for run in runs if run.success is not None]
    return Outcome(np.stack([run.values for run in runs]), np.stack(known) if len(known) == len(runs) else None)


def _contrast(first: Arm, other: Arm, outcomes: dict[str, Outcome], tasks: Sequence[str], lower: bool) -> dict[str, Any]:
    ours, theirs = outcomes[first.name], outcomes[other.name]
    found = {"arm": other.name, "against": first.name, **_difference(theirs.values - ours.values)}
    found["superiority"] = superiority((ours.values - theirs.values) if lower else (theirs.values - ours.values))
    found["by_task"] = {
        task: _difference((theirs.values - ours.values)[:, np.array([t == task for t in tasks])])
        for task in dict.fromkeys(tasks)
    }
    found["by_step"], found["flips"] = [], []
    if ours.success is not None and theirs.success is not None:
        gained = theirs.success - ours.success
        found["by_step"] = [_difference(gained[:, :, step]) for step in range(gained.shape[2])]
        further = gained.sum(axis=2)  # of a chain, in how many instructions
        found["flips"] = [
            {
                "scene": int(i),
                "task": tasks[i],
                "gained": int((further[:, i] > 0).sum()),
                "lost": int((further[:, i] < 0).sum()),
            }
            for i in np.flatnonzero((further != 0).any(0))
        ]
        if len(first.seeds) == 1:
            whole = gained[:, :, -1]
            found["mcnemar_p"] = mcnemar_p(int((whole < 0).sum()), int((whole > 0).sum()))
    return found


def _difference(of: Outcomes) -> dict[str, Any]:
    by_seed = of.mean(1)
    interval = two_way_interval(of)
    return {
        "difference": float(of.mean()),
        "by_seed": by_seed.tolist(),
        "interval": None if interval is None else list(interval),
        "p": permutation_p(by_seed.tolist()),
        "detectable": detectable(by_seed.tolist()),
        "seeds_needed": seeds_needed(by_seed.tolist()),
    }


def verdict(found: Mapping[str, Any], p: float | None) -> str:
    """What can be said of a contrast whose p-value is ``p``, and what would decide; that of one seed alone is None."""
    seeds = len(found["by_seed"])
    if seeds < 2 or p is None:
        return (
            f"One training seed: this compares two policies, not what they were trained by. At least {FEWEST} seeds of "
            f"each arm could decide that."
        )
    low, high = found["interval"] or (-np.inf, np.inf)
    excludes = low > 0 or high < 0
    if p < LEVEL:
        if excludes:
            return "The difference is larger than chance explains."
        return "The seeds agree on these scenes, but the interval over scenes holds 0: judge more scenes."
    needed = max(found["seeds_needed"] or 0, FEWEST)
    if found["seeds_needed"] is None:
        return f"Undecided with {seeds} seeds, and no number up to 1000 would find so small a difference."
    return f"Undecided with {seeds} seeds; about {needed} would find a difference of this size."


def _intervention(first: Arm, other: Arm) -> str | None:
    """What stands in for the foresight of ``first`` in ``other``, the same weights; None where they differ otherwise."""
    pairs = [(first.runs[seed], other.runs[seed]) for seed in first.seeds]
    names = {under.intervention for _, under in pairs}
    same = all(own.fingerprint is not None and own.fingerprint == under.fingerprint for own, under in pairs)
    plain = all(own.intervention is None for own, _ in pairs)
    return names.pop() if same and plain and len(names) == 1 else None


def _reading(found: dict[str, Any], name: str) -> str:
    """Whether success that moves, or stays, under an intervention shows that actions read the forecast."""
    low, high = found["interval"] or (-np.inf, np.inf)
    changed = f"with foresight={name} the mean changes by {found['difference']:+.3g}"
    if low > 0 or high < 0 or found.get("mcnemar_p", 1.0) < LEVEL or (found["p_holm"] or 1.0) < LEVEL:
        return f"The forecast is read: {changed}."
    between = "" if found["interval"] is None else f", and is between {low:+.3g} and {high:+.3g} by its 95 % interval"
    return f"The forecast is not read, as far as these scenes show: {changed}{between}. More scenes would narrow it."
