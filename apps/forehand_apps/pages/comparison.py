"""Comparison page: differences of arms with their intervals and training seeds, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forehand_apps.pages.comparison_videos import SCENES, VIDEO_BYTES, flip_videos
from forehand_apps.pages.render import render

WIDTH, MARGIN = 1000, 30


def comparison_page(found: Mapping[str, Any]) -> str:
    """The page of a comparison (:func:`forehand.evaluation.comparison.compare.compare_arms`)."""
    return render(
        "comparison.html",
        found=found,
        rows=[_rows(one) for one in found["contrasts"]],
        videos=[flip_videos(found, one) for one in found["contrasts"]],
        limits=f"At most {SCENES} scenes are shown, and no video of more than {VIDEO_BYTES // 1_000_000} MB.",
    )


def _rows(one: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    """Name, numbers and places in the drawing: of all, of each step of the chain, of each task."""
    named: list[tuple[str, Mapping[str, Any]]] = [("All scenes", one)]
    named += [(f"{k + 1} in a row", of) for k, of in enumerate(one["by_step"]) if len(one["by_step"]) > 1]
    named += [(task, of) for task, of in one["by_task"].items() if len(one["by_task"]) > 1]
    every = [0.0, *(x for _, of in named for x in [*of["by_seed"], *(of["interval"] or ())])]
    low, high = min(every), max(every)

    def place(x: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * ((x - low) / (high - low) if high > low else 0.5), 1)

    return [
        (
            name,
            of,
            {
                "zero": place(0.0),
                "mean": place(of["difference"]),
                "interval": [place(x) for x in of["interval"]] if of["interval"] else None,
                "seeds": [place(x) for x in of["by_seed"]],
            },
        )
        for name, of in named
    ]
