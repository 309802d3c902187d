"""Run report: statistics updated with every step, shown as a line, a table and JSON."""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forehand.robot import Episode
from forehand.running.control_step import Step

STAGES = ("observe", "policy", "act", "step")
"""Whose times are reported: sensing, an answer of the policy, commanding, and all of a step but the waiting."""

PERCENTILES = (50, 95, 99, 100)


@dataclass
class Report:
    """Counts and times of a run at ``rate`` Hz; times in seconds.

    overruns: steps that took longer than their period, the worst by ``worst_overrun`` seconds; held: steps without a
    command; holds: how many holds there were while an episode ran; expired: chunks that lay in the past as a whole
    when they came; clipped: numbers that each limit clipped, by field and limit; seconds: how long episodes were running.
    """

    rate: float
    episodes: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    overruns: int = 0
    worst_overrun: float = 0.0
    held: int = 0
    holds: Counter[str] = field(default_factory=Counter)
    expired: int = 0
    clipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    times: dict[str, array[float]] = field(default_factory=lambda: {stage: array("f") for stage in STAGES})
    seconds: float = 0.0
    _seconds_before: float = 0.0
    _steps_before: int = 0
    _since: float = 0.0

    def begin(self) -> None:
        """An episode runs from now on."""
        self._since, self._seconds_before, self._steps_before = time.monotonic(), self.seconds, self.steps

    def add(self, step: Step, overrun: float) -> None:
        """One step was done, and took ``overrun`` seconds longer than it should."""
        self.steps += 1
        self.seconds = self._seconds_before + time.monotonic() - self._since
        self.held += step.action is None
        self.overruns += overrun > 0
        self.worst_overrun = max(self.worst_overrun, overrun)
        for stage, took in step.seconds.items():
            self.times[stage].append(took)

    def end(
        self, instruction: str, episode: Episode | None, ending: str, success: bool | None, holds: bool | None
    ) -> None:
        """The episode is over; ``holds``: True where the robot confirmed that it holds, else None."""
        scene = {"task": episode.task, "seed": episode.seed} if episode else {}
        about = {"instruction": instruction, "steps": self.steps - self._steps_before}
        self.episodes.append({**scene, **about, "ending": ending, "success": success, "holds": holds})

    @property
    def achieved(self) -> float:
        """Control steps a second while episodes were running."""
        return self.steps / self.seconds if self.seconds else 0.0

    def percentiles(self, stage: str) -> dict[str, float]:
        """``p50``, ``p95``, ``p99`` and ``max`` of a stage's times in milliseconds; empty where it never happened."""
        times = self.times[stage]
        if not times:
            return {}
        values = np.percentile(np.asarray(times), PERCENTILES) * 1000
        return {"max" if p == 100 else f"p{p}": round(float(v), 3) for p, v in zip(PERCENTILES, values, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "episodes": self.episodes,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "rate": {"wanted": self.rate, "achieved": round(self.achieved, 3)},
            "overruns": {"steps": self.overruns, "worst_ms": round(self.worst_overrun * 1000, 3)},
            "holds": {"steps": self.held, "reasons": dict(self.holds)},
            "chunks_too_late": self.expired,
            "limits": [
                {"field": name, "limit": limit, "cut": count} for (name, limit), count in sorted(self.clipped.items())
            ],
            "milliseconds": {stage: found for stage in STAGES if (found := self.percentiles(stage))},
        }

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of the printed report."""
        judged = [e["success"] for e in self.episodes if e["success"] is not None]
        episodes = f"{len(self.episodes)}" + (f", {sum(judged)} of {len(judged)} accomplished" if judged else "")
        worst = f", the worst by {self.worst_overrun * 1000:.1f} ms" if self.overruns else ""
        reasons = ": " + ", ".join(f"{reason} {n}×" for reason, n in self.holds.most_common()) if self.holds else ""
        rows = [
            ("episodes", episodes),
            ("steps", f"{self.steps} in {self.seconds:.1f} s"),
            ("rate", f"{self.achieved:.2f} of {self.rate:g} Hz"),
            ("overruns", f"{self.overruns}{worst}"),
            ("steps held", f"{self.held}{reasons}"),
            ("chunks too late", f"{self.expired}"),
        ]
        rows += [(f"limit {name}", f"{limit} cut {count}×") for (name, limit), count in sorted(self.clipped.items())]
        if not self.clipped:
            rows.append(("limits", "none hit"))
        for stage in STAGES:
            if found := self.percentiles(stage):
                rows.append((f"{stage} (ms)", "   ".join(f"{name} {value:.1f}" for name, value in found.items())))
        return rows

    def line(self) -> str:
        """How it goes, in one line."""
        policy = self.percentiles("policy")
        latency = f"policy {policy['p50']:.0f} ms, 95 % within {policy['p95']:.0f} ms" if policy else "no answer yet"
        return (
            f"{self.steps} steps, {self.achieved:.1f} of {self.rate:g} Hz, {latency}, "
            f"{self.overruns} overruns, {self.held} held, {sum(self.clipped.values())} cut"
        )
