"""Probes of an evaluation: the same policy on the same trials, under another instruction or with other poses.

They say what a success rate rests on. ``blind``: the instruction is another task's, success is still that of the episode;
a policy that ignores instructions keeps its rate. ``redrawn``: everything lies where another seed puts it, under the same
instructions; a rate that rests on the poses of the fixed trials is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from forehand.benchmark import Benchmark
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand.robot import Episode

BLIND, REDRAWN = "blind", "redrawn"
PROBES: Mapping[str, str] = MappingProxyType(
    {BLIND: "language-blind: given another task's sentence", REDRAWN: "re-drawn poses"}
)
"""Probe → what a table calls it."""

Trials = Sequence[Sequence[Episode]]


def probe_trials(name: str, benchmark: Benchmark, trials: Trials) -> tuple[Trials, Callable[[Episode], str] | None]:
    """The trials of a probe, and the policy's instruction in each episode (None: the episode's).

    Raises :class:`UnknownName`, and :class:`ConfigurationError` where the benchmark has no such probe.
    """
    if name not in PROBES:
        raise UnknownName(f"There is no probe called {name!r}. {nearest(name, PROBES)}")
    try:
        if name == REDRAWN:
            return [benchmark.redrawn(tuple(trial)) for trial in trials], None
        for trial in trials[:1]:
            benchmark.counterfactual_instruction(trial[0])
    except NotImplementedError as error:
        raise ConfigurationError(f"The probe {name!r} cannot be made: {error}.") from error
    return trials, benchmark.counterfactual_instruction


def probe_folder(folder: Path, name: str) -> Path:
    """Where a probe of the evaluation in ``folder`` is written: an evaluation like any other."""
    return folder / "probes" / name
