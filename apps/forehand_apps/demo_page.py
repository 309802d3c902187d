"""The demo's page: one self-contained HTML file with rollouts, what was foreseen, the table and the loss curves."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.results import RESULTS
from forehand.training import LOG
from forehand_apps.pages import data_url, fill, jpeg

PAGE = "index.html"
STRIP = 5  # moments of a rollout that are shown as pictures


@dataclass(frozen=True)
class DemoEvaluation:
    """One row of the table: a policy's folder, the instruction it hears, where the results are, and words for people."""

    folder: str
    policy: str
    instruction: str
    title: str


EVALUATIONS = (
    DemoEvaluation("evaluation", "seer", "own", "Seer, small"),
    DemoEvaluation("evaluation_without_foresight", "without_foresight", "own", "the same without its world model"),
    DemoEvaluation("evaluation_other_instruction", "seer", "other", "Seer, told something else"),
    DemoEvaluation("evaluation_untrained", "untrained", "own", "Seer, untrained"),
)


def write_page(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write ``index.html`` from what the stages left in ``folder``."""
    results = {e.folder: json.loads((folder / e.folder / RESULTS).read_text()) for e in EVALUATIONS}
    main, told_otherwise = EVALUATIONS[0].folder, EVALUATIONS[2].folder
    filmed = [e for e in results[main]["episodes"] if e["video"]]
    parts = {
        "headline": _headline(summary),
        "table": _table(results),
        "rollouts": "".join(_video(folder / main, e) for e in filmed),
        "strips": "".join(_strip(folder / main, e) for e in filmed[:3]),
        "told_otherwise": "".join(_video(folder / told_otherwise, e) for e in _filmed(results[told_otherwise])[:3]),
        "curves": _curves({e.title: folder / e.policy / LOG for e in EVALUATIONS[:2]}),
        "facts": _facts(summary),
    }
    (folder / PAGE).write_text(fill("demo_page.html", parts), encoding="utf-8")


def _filmed(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [e for e in result["episodes"] if e["video"]]


def _headline(summary: Mapping[str, Any]) -> str:
    low, high = summary["success_interval"]
    return (
        f"<strong>{summary['success_rate']:.0%}</strong> of {summary['episodes']} held-out episodes succeed "
        f"(95 % interval {low:.0%} to {high:.0%}), after {summary['demonstrations']} demonstrations and "
        f"{summary['recipe']['steps']} training steps; untrained, {summary['untrained_success_rate']:.0%} do. "
        f"Everything on this page took {summary['seconds'] / 60:.1f} minutes."
    )


def _table(results: Mapping[str, Mapping[str, Any]]) -> str:
    tasks = [row["task"] for row in next(iter(results.values()))["table"][1:]]
    head = "".join(f"<th>{html.escape(word)}</th>" for word in ("policy", *tasks, "all", "95 % interval", "n"))
    rows = []
    for evaluation in EVALUATIONS:
        total, *each = results[evaluation.folder]["table"]
        by_task = {row["task"]: f"{row['successes']}/{row['n']}" for row in each}
        low, high = total["interval"]
        cells = [*(by_task[task] for task in tasks), f"{total['rate']:.2f}", f"[{low:.2f}, {high:.2f}]", str(total["n"])]
        rows.append(f"<tr><td>{html.escape(evaluation.title)}</td>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _caption(episode: Mapping[str, Any]) -> str:
    outcome = "success" if episode["success"] else "no success"
    heard = html.escape(episode["heard"])
    if episode["heard"] != episode["instruction"]:
        heard += f" <small>(judged by: {html.escape(episode['instruction'])})</small>"
    return f"<figcaption>“{heard}” — {outcome} after {episode['steps']} steps</figcaption>"


def _video(folder: Path, episode: Mapping[str, Any]) -> str:
    source = data_url("video/mp4", (folder / episode["video"]).read_bytes())
    return f'<figure><video src="{source}" autoplay loop muted playsinline controls></video>{_caption(episode)}</figure>'


def _strip(folder: Path, episode: Mapping[str, Any]) -> str:
    """A few moments of a rollout: what the cameras saw, above what the policy had foreseen for that moment."""
    frames = _read_video(folder / episode["video"])[: episode["steps"]]
    chosen = np.linspace(min(4, len(frames) - 1), len(frames) - 1, STRIP).round().astype(int)
    images = "".join(
        f'<img src="{data_url("image/jpeg", jpeg(frames[i]))}" alt="step {i}: above what came, below what was foreseen">'
        for i in dict.fromkeys(chosen.tolist())
    )
    return f'<figure class="strip"><div>{images}</div>{_caption(episode)}</figure>'


def _read_video(path: Path) -> list[NDArray[np.uint8]]:
    import av

    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        frames += [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]
    return frames


def _curves(logs: Mapping[str, Path]) -> str:
    """Loss curves as one inline SVG: the action terms of each policy, and the foresight of whoever has one."""
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
    """An exponential moving average, so that the curves of noisy batches can be told apart."""
    out: list[float] = []
    for value in values:
        out.append(value if not out else (1 - share) * out[-1] + share * value)
    return out


def _facts(summary: Mapping[str, Any]) -> str:
    rows: Iterable[tuple[str, Any]] = (
        ("demonstrations", f"{summary['demonstrations']}, seed {summary['seed']}"),
        ("recipe", ", ".join(f"{key} {value}" for key, value in summary["recipe"].items())),
        ("held-out episodes", f"{summary['episodes']} a row of the table, seed {summary['evaluation_seed']}"),
        ("seconds", ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in summary["stages"].items())),
        ("machine", summary["machine"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())),
        ("commit", summary["commit"] or "not in a checkout"),
    )
    return "".join(f"<tr><th>{key}</th><td>{html.escape(str(value))}</td></tr>" for key, value in rows)
