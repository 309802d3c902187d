"""Curves of trainings, drawn over each other."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError
from forehand.learning.training_log import LOG

VALIDATION, EVALUATION = "validation/", "evaluation/"
RATE = "evaluation/success_rate"
ABSENT = (
    *("step", "memory/*", "time/*", "windows_per_second"),
    *("evaluation/step", "evaluation/low", "evaluation/high", "evaluation/n"),
)
"""What has no panel of its own unless it is asked for."""

COLUMNS, WIDTH, HEIGHT = 3, 4.6, 2.9
"""Panels in a row, and the size of one in inches."""

FEW = 30
"""Points of a curve below which each is marked."""


@dataclass(frozen=True)
class Run:
    """The log of one training: ``name``, and its entries in their order."""

    name: str
    entries: Sequence[Mapping[str, Any]]

    def curve(self, metric: str) -> tuple[list[float], list[float]]:
        """Steps and values of a metric, where entries have it."""
        at = f"{EVALUATION}step" if metric.startswith(EVALUATION) else "step"
        found = sorted((entry[at], entry[metric]) for entry in self.entries if metric in entry and at in entry)
        return [step for step, _ in found], [value for _, value in found]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in ``folders``, and in those below a folder that has none itself, as of a sweep.

    Raises :class:`ConfigurationError` for a folder without any, and for a log that cannot be read.
    """
    found: list[Path] = []
    for folder in folders:
        below = [folder] if (folder / LOG).is_file() else sorted(path.parent for path in folder.glob(f"*/{LOG}"))
        if not below:
            raise ConfigurationError(f"{folder} is no run of forehand train: neither it nor a folder in it has a {LOG}.")
        found += below
    return [Run(name, _entries(path / LOG)) for name, path in zip(_names(found), found, strict=True)]


def _entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; a last line that is being written is left out."""
    entries = []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            entry["step"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ConfigurationError(f"{path}, line {number} is no entry of a log: {error}.") from error
        entries.append(entry)
    return entries


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths by which they differ."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1
    while depth < max(map(len, parts)) and len({p[-depth:] for p in parts}) < len(set(parts)):
        depth += 1
    return ["/".join(p[-depth:]) for p in parts]


def choose_metrics(runs: Sequence[Run], patterns: Sequence[str] | None) -> list[str]:
    """The metrics that get a panel, by ``patterns`` of their names; None: those of learning.

    Those of validation are drawn in the panel of the training metric of that name, where there is one. Raises
    :class:`ConfigurationError` for a pattern that none matches.
    """
    known = list(dict.fromkeys(name for run in runs for entry in run.entries for name in entry))
    if patterns is None:
        shown = [name for name in known if not any(fnmatch.fnmatchcase(name, pattern) for pattern in ABSENT)]
        return [n for n in shown if not (n.startswith(VALIDATION) and n.removeprefix(VALIDATION) in known)]
    chosen: list[str] = []
    for pattern in patterns:
        if not (matched := [name for name in known if fnmatch.fnmatchcase(name, pattern)]):
            raise ConfigurationError(f"metrics: no run has {pattern!r}. There are {', '.join(known)}.")
        chosen += [name for name in matched if name not in chosen]
    return chosen


def draw(runs: Sequence[Run], metrics: Sequence[str], smooth: float = 0.0) -> Any:
    """A matplotlib figure with a panel for each metric.

    smooth: share of the previous value in an exponential moving average of the training's curves, which are then drawn
    over the numbers as they are. Validation is dashed, and success rates have their 95 % intervals.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(metrics) :]:
        axis.remove()
    for axis, metric in zip(axes.flat, metrics, strict=False):
        for number, run in enumerate(runs):
            colour = f"C{number}"
            steps, values = run.curve(metric)
            plain = metric.startswith((VALIDATION, EVALUATION))
            if smooth and not plain:
                axis.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
            line = values if plain else smoothed(values, smooth)
            axis.plot(steps, line, color=colour, label=run.name, marker="." if len(steps) < FEW else None)
            if not plain:
                axis.plot(*run.curve(VALIDATION + metric), color=colour, linestyle="--", marker=".", markersize=4)
            if metric == RATE:
                low, high = (run.curve(f"{EVALUATION}{end}")[1] for end in ("low", "high"))
                axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=metric, xlabel="step")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    return figure


def smoothed(values: Sequence[float], share: float) -> list[float]:
    """An exponential moving average: ``share`` of the previous value, and the rest of the next one."""
    out: list[float] = []
    for value in values:
        out.append(value if not out else share * out[-1] + (1 - share) * value)
    return out
