"""Demo report: one self-contained HTML page with rollouts, forecasts, the results table and loss curves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forehand.evaluation.results import RESULTS
from forehand.learning.trainer import LOG
from forehand_apps.pages.foresight import PARTS, foresight_episodes
from forehand_apps.pages.render import data_url, embed, jpeg, render

PAGE = "index.html"
STRIP = 5  # moments of a rollout that are shown as pictures


@dataclass(frozen=True)
class DemoEvaluation:
    """One row of the table: folder of the results, folder of the policy, its instruction, and the row's title."""

    folder: str
    policy: str
    instruction: str
    title: str


EVALUATIONS = (
    DemoEvaluation("evaluation", "seer", "task", "Seer, small"),
    DemoEvaluation("evaluation_without_foresight", "without_foresight", "task", "the same without its world model"),
    DemoEvaluation("evaluation_act", "act", "task", "ACT, small: the same data, steps and batches"),
    DemoEvaluation("evaluation_other_instruction", "seer", "counterfactual", "Seer, given another instruction"),
    DemoEvaluation("evaluation_untrained", "untrained", "task", "Seer, untrained"),
)


def write_page(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write ``index.html`` from what the stages left in ``folder``."""
    results = {e.folder: json.loads((folder / e.folder / RESULTS).read_text()) for e in EVALUATIONS}
    main, counterfactual = "evaluation", "evaluation_other_instruction"
    filmed = _filmed(results[main])
    parts = folder / main / PARTS
    page = render(
        "demo.html",
        summary=summary,
        table=_table(results),
        shown=foresight_episodes(parts, [json.loads(path.read_text()) for path in sorted(parts.glob("*.json"))]),
        rollouts=[(e, embed(folder / main / e["video"])) for e in filmed],
        strips=[(e, _moments(folder / main / e["video"], e["steps"])) for e in filmed[:3]],
        counterfactual=[(e, embed(folder / counterfactual / e["video"])) for e in _filmed(results[counterfactual])[:3]],
        curves=_curves({e.title: folder / e.policy / LOG for e in EVALUATIONS[:2]}),
        facts=_facts(summary),
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def _filmed(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [e for e in result["episodes"] if e["video"]]


def _table(results: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Rows of cells; the first row is the head."""
    tasks = [row["task"] for row in next(iter(results.values()))["table"][1:]]
    rows = [["policy", *tasks, "all", "95 % interval", "n"]]
    for evaluation in EVALUATIONS:
        total, *each = results[evaluation.folder]["table"]
        by_task = {row["task"]: f"{row['successes']}/{row['n']}" for row in each}
        low, high = total["interval"]
        cells = [*(by_task[task] for task in tasks), f"{total['rate']:.2f}", f"[{low:.2f}, {high:.2f}]", str(total["n"])]
        rows.append([evaluation.title, *cells])
    return rows


def _moments(video: Path, steps: int) -> list[tuple[int, str]]:
    """A few moments of a rollout, step and picture: what the cameras saw, above what was foreseen for that moment."""
    from forehand.utils.video import decode

    frames = [pixels for _, pixels in decode(video)][:steps]
    chosen = np.linspace(min(4, len(frames) - 1), len(frames) - 1, STRIP).round().astype(int)
    return [(i, data_url("image/jpeg", jpeg(frames[i]))) for i in dict.fromkeys(chosen.tolist())]


def _curves(logs: Mapping[str, Path]) -> str:
    """Loss curves as one inline SVG: the action terms of each policy, and the foresight loss where there is one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in logs.items()}
    terms = ("arm", "gripper", "foresight")
    figure, axes = pyplot.subplots(1, len(terms), figsize=(10, 2.8), layout="constrained")
    for axis, term in zip(axes, terms, strict=True):
        for name, entries in runs.items():
            if entries and term in entries[0]:
                steps = [e["step"] for e in entries]
                axis.plot(steps, _smooth([e[term] for e in entries]), label=name, linewidth=1.5)
        axis.set(title=f"{term} loss", xlabel="step", yscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[0].legend(fontsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _smooth(values: Sequence[float], share: float = 0.3) -> list[float]:
    """An exponential moving average, so that the curves of noisy batches can be distinguished."""
    out: list[float] = []
    for value in values:
        out.append(value if not out else (1 - share) * out[-1] + share * value)
    return out


def _facts(summary: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return (
        ("demonstrations", f"{summary['demonstrations']}, seed {summary['seed']}"),
        ("recipe", ", ".join(f"{key} {value}" for key, value in summary["recipe"].items())),
        ("held-out episodes", f"{summary['episodes']} a row of the table, seed {summary['evaluation_seed']}"),
        ("seconds", ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in summary["stages"].items())),
        ("machine", summary["machine"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())),
        ("commit", summary["commit"] or "not in a checkout"),
    )
