"""Report of a study: the primary contrast, every arm in every regime, and whether trainings were matched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forehand.evaluation.comparison.arms import Run, pair, read_run
from forehand.evaluation.comparison.compare import compare_arms, verdict
from forehand.learning.checkpoint import latest_checkpoint, read_provenance
from forehand.utils.files import replacing
from forehand.utils.markdown import markdown_table
from forehand_apps.pages.comparison import comparison_page
from forehand_apps.studies.curve import curve_report
from forehand_apps.studies.numbers import write_numbers
from forehand_apps.studies.plan import Cell, Study

REPORT, COMPARISONS = "report.md", "comparisons"
MATCHED = ("parameters", "steps", "batch size", "precision")


def write_report(study: Study, seeds: Sequence[int], record: Mapping[str, Any]) -> None:
    """Compare what these training seeds brought: ``report.md``, ``numbers.json`` and a page for every comparison."""
    found = {
        (judged, regime): _compare(study, judged, regime, seeds) for judged in study.judge for regime in study.regimes
    }
    read = {
        (judged, cell): _compare_foresight(study, judged, cell, seeds)
        for judged in study.judge
        for cell in study.cells
        if study.is_intervened(judged, cell) and study.interventions
    }
    folder = study.folder / COMPARISONS
    folder.mkdir(exist_ok=True)
    named = {f"{judged}-{regime}": one for (judged, regime), one in found.items()}
    named |= {_foresight_name(*of): one for of, one in read.items()}
    for name, comparison in named.items():
        for suffix, text in (("json", json.dumps(comparison, indent=1) + "\n"), ("html", comparison_page(comparison))):
            with replacing(folder / f"{name}.{suffix}") as staging:
                staging.write_text(text, encoding="utf-8")
    first, tables = curve_report(study, seeds, found, folder)
    whole = [f"# {study.question}\n", *first, *_lines(study, seeds, record, found), *tables]
    lines = [*whole, *_reading_lines(read), *_training_lines(study, seeds)]
    with replacing(study.folder / REPORT) as staging:
        staging.write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_numbers(study, seeds, record, primary_contrast(study, found))


def _compare(study: Study, judged: str, regime: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Every arm of the regime against the primary contrast's second one."""
    first = study.primary.against
    names = [first, *(name for name in study.arms if name != first)]
    runs: list[Run] = [
        read_run(study.judged(judged, Cell(regime, name), seed), name, seed) for name in names for seed in seeds
    ]
    return compare_arms(pair(runs))


def _compare_foresight(study: Study, judged: str, cell: Cell, seeds: Sequence[int]) -> dict[str, Any]:
    """The arm with its own foresight against itself under every intervention."""
    names = {cell.arm: "", **{f"{cell.arm}, foresight={name}": name for name in study.interventions}}
    runs = [read_run(study.judged(judged, cell, seed, of), name, seed) for name, of in names.items() for seed in seeds]
    return compare_arms(pair(runs))


def _foresight_name(judged: str, cell: Cell) -> str:
    return f"{judged}-{cell.regime}-{cell.arm}-foresight"


def primary_contrast(study: Study, found: Mapping[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """The contrast that was declared before anything ran, and so is not corrected for the other arms."""
    primary = study.primary
    (contrast,) = (one for one in found[primary.judged, primary.regime]["contrasts"] if one["arm"] == primary.arm)
    return {**contrast, "verdict": verdict(contrast, contrast["p"])}


def _lines(
    study: Study, seeds: Sequence[int], record: Mapping[str, Any], found: Mapping[tuple[str, str], dict[str, Any]]
) -> Iterator[str]:
    primary, contrast = study.primary, primary_contrast(study, found)
    comparison = found[primary.judged, primary.regime]
    hours = (sum(record["rounds"].values()) + sum(record["prepared"].values())) / 3600
    yield (
        f"{len(seeds)} of {len(study.seeds)} training seeds, {hours:.1f} hours on {record['machine']}, "
        f"commit {record['commit']}; declared {record['declared']}, before anything ran.\n"
    )
    for later in record.get("added", []):
        yield f"Added {later['declared']}, when it had begun: {', '.join(later['what'])}.\n"
    yield "## Primary contrast\n"
    yield (
        f"**{primary.arm} − {primary.against}**, regime {primary.regime}, judged in {primary.judged}: "
        f"{comparison['measure']} **{contrast['difference']:+.3g}** {_interval(contrast)}, p = {_said(contrast['p'])} "
        f"over {len(seeds)} training seeds and {comparison['scenes']} scenes.\n"
    )
    if len(seeds) < len(study.seeds):
        yield "This is an interim look: the declared number of seeds is not reached, and its p is not the study's.\n"
    yield f"{contrast['verdict']}\n"
    yield "## All arms\n"
    yield "Differences are from the arm that the primary contrast is against; p is corrected for all arms of a table."
    for (judged, regime), one in found.items():
        yield f"\n### {judged}, {regime}: {one['measure']}\n"
        yield f"[Page](comparisons/{judged}-{regime}.html)\n"
        of = {contrast["arm"]: contrast for contrast in one["contrasts"]}
        rows = []
        for arm in one["arms"]:
            by_seed, beside = ", ".join(f"{value:.3g}" for value in arm["by_seed"]), of.get(arm["name"])
            rows.append([arm["name"], f"{arm['mean']:.3g}", by_seed, *(_cells(beside) if beside else ["–"] * 3)])
        yield markdown_table(["arm", "mean", "by seed", "difference", "95 % interval", "p (Holm)"], rows, "lrlrlr")


def _reading_lines(read: Mapping[tuple[str, Cell], dict[str, Any]]) -> Iterator[str]:
    if not read:
        return
    yield "\n## Is the forecast read?\n"
    yield "The same weights, whose actions are given other foresight than their own; p is corrected within each arm."
    for (judged, cell), one in read.items():
        yield f"\n### {judged}, {cell.regime}, {cell.arm}: {one['measure']} {one['arms'][0]['mean']:.3g}\n"
        yield f"[Page](comparisons/{_foresight_name(judged, cell)}.html)\n"
        rows = [
            [of["intervention"], f"{arm['mean']:.3g}", *_cells(of), f"{of['reading'].partition(':')[0]}."]
            for arm, of in zip(one["arms"][1:], one["contrasts"], strict=True)
        ]
        yield markdown_table(["foresight", "mean", "difference", "95 % interval", "p (Holm)", ""], rows, "lrrlrl")


def _training_lines(study: Study, seeds: Sequence[int]) -> Iterator[str]:
    yield "\n## What was trained\n"
    trained = {cell: _training(study, cell, seeds[0]) for cell in study.cells}
    names = ["regime", "arm", *MATCHED, "demonstrations", "frames"]
    rows = [[cell.regime, cell.arm, *map(str, facts.values())] for cell, facts in trained.items()]
    yield markdown_table(names, rows, "ll".ljust(len(names), "r"))
    yield ""
    for regime in study.regimes:
        for name in MATCHED:
            values = {facts[name] for cell, facts in trained.items() if cell.regime == regime}
            if len(values) > 1:
                yield f"- Not matched in {regime}: {name} ({', '.join(map(str, sorted(values, key=str)))})."


def _training(study: Study, cell: Cell, seed: int) -> dict[str, Any]:
    checkpoint = latest_checkpoint(study.trained(cell, seed))
    assert checkpoint is not None  # it was judged
    about = read_provenance(checkpoint)
    recipe, data = about["recipe"], about["data"]
    return {
        "parameters": sum(group["parameters"] for group in about["parameter_groups"]),
        "steps": about["step"],
        "batch size": recipe["batch_size"] * recipe["gradient_accumulation_steps"],
        "precision": recipe["precision"],
        "demonstrations": " + ".join(str(source["episodes"]) for source in data),
        "frames": " + ".join(str(source["frames"]) for source in data),
    }


def _cells(of: Mapping[str, Any]) -> tuple[str, str, str]:
    """Those of a contrast in a table: the difference, its interval, and p."""
    return f"{of['difference']:+.3g}", _interval(of), _said(of["p_holm"])


def _interval(of: Mapping[str, Any]) -> str:
    return "–" if of["interval"] is None else "[{:.3g}, {:.3g}]".format(*of["interval"])


def _said(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
