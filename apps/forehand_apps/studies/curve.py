"""Curve of a study: arms that differ in a number, compared with the one that the primary contrast is against."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forehand.evaluation.comparison.arms import pair, read_run
from forehand.evaluation.comparison.compare import compare_arms
from forehand.evaluation.comparison.explained import R_SQUARED, Judged, read_judged
from forehand.utils.files import replacing
from forehand.utils.markdown import markdown_table
from forehand_apps.studies.plan import Cell, Curve, Study


@dataclass(frozen=True)
class Measured:
    """What was measured in one regime: comparisons by what they measure.

    whole: name → comparison of all arms, of :func:`.compare_arms`; by_task: task → comparison of the first of these, of
    the arms of the curve; errors: field → arm → its mean error, with the unit.
    """

    whole: Mapping[str, dict[str, Any]]
    by_task: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def curve_report(
    study: Study, seeds: Sequence[int], found: Mapping[tuple[str, str], dict[str, Any]], folder: Path
) -> tuple[list[str], list[str]]:
    """What stands in front of the report, and its section on the curve; writes a picture and the numbers into ``folder``.

    found: (judged, regime) → the comparison of all its arms. ([], []) of a study without a curve.
    """
    if (curve := study.curve) is None:
        return [], []
    first, tables = list[str](), [f"\n## By {curve.axis}"]
    for judged in study.judge:
        each = {regime: _measure(study, judged, regime, seeds, found[judged, regime]) for regime in study.regimes}
        measured = {regime: one for regime, one in each.items() if one.whole}
        if not measured:  # no number of the action ever changes
            continue
        name = f"{judged}-curve"
        _write(folder / f"{name}.json", json.dumps({regime: one.whole for regime, one in measured.items()}, indent=1))
        _write(folder / f"{name}.svg", _picture(curve, measured))
        first += _first_lines(curve, judged, measured)
        tables += [f"\n### {judged}\n", f"![{judged}]({folder.name}/{name}.svg)\n"]
        tables.append(_table(curve, measured))
        tables += [line for regime, one in measured.items() for line in _task_table(curve, regime, one)]
    return first, tables


def _measure(study: Study, judged: str, regime: str, seeds: Sequence[int], comparison: dict[str, Any]) -> Measured:
    """R² by field of open-loop evaluations, in all and by task; of others the comparison that there is."""
    if not comparison["lower_is_better"]:
        return Measured({comparison["measure"]: comparison})
    names = [arm["name"] for arm in comparison["arms"]]
    judgements = [
        read_judged(read_run(study.judged(judged, Cell(regime, name), seed), name, seed))
        for name in names
        for seed in seeds
    ]
    fields = judgements[0].fields
    whole = {f"{R_SQUARED} of {of}": found for of in fields if (found := _explained(judgements, of, None))}
    assert study.curve is not None
    kept = {study.primary.against, *study.curve.arms}
    shown = [one for one in judgements if one.run.arm in kept]
    tasks = dict.fromkeys(judgements[0].run.tasks)
    by_task = {task: found for task in tasks if (found := _explained(shown, fields[0], task))} if len(tasks) > 1 else {}
    errors = {of: _errors(study, judged, regime, seeds, of, names) for of in fields}
    return Measured(whole, by_task, errors)


def _explained(judgements: Sequence[Judged], of: str, task: str | None) -> dict[str, Any] | None:
    runs = [run for one in judgements if (run := one.explained(of, task)) is not None]
    return compare_arms(pair(runs)) if runs else None


def _errors(
    study: Study, judged: str, regime: str, seeds: Sequence[int], of: str, names: Sequence[str]
) -> dict[str, str]:
    """Arm → its mean error of a field over episodes and seeds, with the unit."""
    found = {}
    for name in names:
        runs = [read_run(study.judged(judged, Cell(regime, name), seed), name, seed, of) for seed in seeds]
        mean = sum(float(run.values.mean()) for run in runs) / len(runs)
        found[name] = f"{mean:.3g} {runs[0].measure.partition(' in ')[2]}".removesuffix(" 1").strip()
    return found


def _first_lines(curve: Curve, judged: str, measured: Mapping[str, Measured]) -> Iterator[str]:
    """By regime the largest gain of the curve's first measure, and whether chance explains it."""
    note = next(iter(next(iter(measured.values())).whole.values())).get("note")
    yield f"**{'The ceiling' if note else 'The largest difference'}**, judged in {judged}:\n"
    for regime, one in measured.items():
        measure, comparison = next(iter(one.whole.items()))
        contrasts = [of for of in comparison["contrasts"] if of["arm"] in curve.arms]
        best = max(contrasts, key=lambda of: of["difference"])
        base = comparison["arms"][0]["mean"]
        found = "" if (best["interval"] or (1.0,))[0] > 0 else ": nothing, as far as these scenes show"
        said, number = _interval(best) or "(one training seed)", f"{curve.arms[best['arm']]:g}"
        yield (
            f"- {regime}: {measure} {base:.3g} → {base + best['difference']:.3g}, **{best['difference']:+.3g}** "
            f"{said}, at {number} {curve.axis} (the best of {len(contrasts)}){found}."
        )
    yield f"\n{note}\n" if note else ""


def _table(curve: Curve, measured: Mapping[str, Measured]) -> str:
    """Every arm of the curve in every regime, by measure."""
    measures = list(dict.fromkeys(name for one in measured.values() for name in one.whole))
    heads = [h for m in measures for h in (m, "gain, 95 % interval", *(["error"] if m.startswith(R_SQUARED) else []))]
    rows = []
    for regime, one in measured.items():
        against = next(iter(one.whole.values()))["arms"][0]["name"]
        for arm in (against, *curve.arms):
            number = f"{curve.arms[arm]:g}" if arm in curve.arms else against
            rows.append([regime, number, *(cell for m in measures for cell in _cells(one, m, arm))])
    return markdown_table(["regime", curve.axis, *heads], rows, "l".ljust(2 + len(heads), "r"))


def _cells(one: Measured, measure: str, arm: str) -> list[str]:
    of = measure.partition(" of ")[2]
    error = [one.errors.get(of, {}).get(arm, "–")] if measure.startswith(R_SQUARED) else []
    if measure not in one.whole:
        return ["–", "–", *error]
    comparison = one.whole[measure]
    (mean,) = (a["mean"] for a in comparison["arms"] if a["name"] == arm)
    gain = next(
        (f"{c['difference']:+.3g} {_interval(c)}".strip() for c in comparison["contrasts"] if c["arm"] == arm), "–"
    )
    return [f"{mean:.3g}", gain, *error]


def _task_table(curve: Curve, regime: str, one: Measured) -> Iterator[str]:
    if not one.by_task:
        return
    measure = next(iter(one.by_task.values()))["measure"]
    yield f"\n#### {regime}: {measure} by task, and what each arm adds\n"
    against = next(iter(one.by_task.values()))["arms"][0]["name"]
    names, rows = ["task", "episodes", against, *(f"{number:g}" for number in curve.arms.values())], []
    for task, comparison in sorted(one.by_task.items()):
        gains = {c["arm"]: f"{c['difference']:+.2f}" for c in comparison["contrasts"]}
        mean = f"{comparison['arms'][0]['mean']:.2f}"
        rows.append([task, str(comparison["scenes"]), mean, *(gains[arm] for arm in curve.arms)])
    yield markdown_table(names, rows, "l".ljust(len(names), "r"))


def _picture(curve: Curve, measured: Mapping[str, Measured]) -> str:
    """An SVG with a panel for each measure: what arms of the curve gain, with intervals, and each training seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measures = list(dict.fromkeys(name for one in measured.values() for name in one.whole))
    figure, axes = pyplot.subplots(
        1, len(measures), figsize=(4.6 * len(measures), 3.4), layout="constrained", squeeze=False
    )
    for axis, measure in zip(axes[0], measures, strict=True):
        for place, (regime, one) in enumerate(measured.items()):
            of = {c["arm"]: c for c in one.whole.get(measure, {"contrasts": []})["contrasts"]}
            points = sorted((number, of[arm]) for arm, number in curve.arms.items() if arm in of)
            if not points:
                continue
            x, colour = [number for number, _ in points], f"C{place}"
            axis.plot(x, [c["difference"] for _, c in points], color=colour, label=regime)
            if all(c["interval"] for _, c in points):
                low, high = zip(*(c["interval"] for _, c in points), strict=True)
                axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            dots = [(number, value) for number, c in points for value in c["by_seed"]]
            axis.plot(*zip(*dots, strict=True), ".", color=colour, markersize=3)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set(title=f"{measure}: gain", xlabel=curve.axis)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    return buffer.getvalue()


def _write(path: Path, text: str) -> None:
    with replacing(path) as staging:
        staging.write_text(text, encoding="utf-8")


def _interval(of: Mapping[str, Any]) -> str:
    return "" if of["interval"] is None else "[{:.3g}, {:.3g}]".format(*of["interval"])
