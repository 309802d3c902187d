"""Evaluations of a checkpoint: those that were given, and those that lie beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from forehand.errors import ConfigurationError, ForehandError
from forehand.evaluation.journal import JOURNAL
from forehand.evaluation.results import RESULTS, EvaluationRecord, read_record
from forehand.learning.checkpoint import CHECKPOINTS, fingerprints

EVALUATIONS = "evaluations"
"""The folder inside a shared checkpoint that holds the results of its evaluations."""


def evaluations_of(checkpoint: Path, given: Sequence[Path] = ()) -> list[EvaluationRecord]:
    """The evaluations of the policy in the folder ``checkpoint``, by its fingerprint: of raw or of averaged weights.

    They are looked for in the checkpoint, in its run's folder and in the one that holds that, three folders deep;
    shards, replays and what finished no trial are left out. given: further output folders of evaluations. Raises
    :class:`ConfigurationError` where one of these is of another policy, or a shard.
    """
    marks = fingerprints(checkpoint).values()
    records = []
    for folder in given:
        record = read_record(folder)
        if _policy(record) not in marks:
            raise ConfigurationError(
                f"The evaluation in {folder} is of another policy: its fingerprint is {_policy(record)}, and that of "
                f"{checkpoint} is {' or '.join(marks)}. Leave it out, or evaluate this checkpoint."
            )
        if record.shard is not None:
            raise ConfigurationError(
                f"{folder} is a shard of an evaluation: forehand results merge joins it with the rest."
            )
        if _unmerged(record):
            raise ConfigurationError(
                f"{folder} is being evaluated, or its process was killed. Wait, or repeat the command to finish it."
            )
        records.append(record)
    records += [record for record in _beside(checkpoint) if _policy(record) in marks and not _unmerged(record)]
    found: dict[bytes, EvaluationRecord] = {}
    for record in records:
        found.setdefault((record.folder / RESULTS).read_bytes(), record)
    return list(found.values())


def _unmerged(record: EvaluationRecord) -> bool:
    """Whether its results file lacks trials that finished."""
    return (record.folder / JOURNAL).exists()


def _policy(record: EvaluationRecord) -> str | None:
    known: str | None = record.setup.get("policy_facts", {}).get("fingerprint")
    return known


def _beside(checkpoint: Path) -> Iterator[EvaluationRecord]:
    checkpoint = checkpoint.absolute()
    run = checkpoint.parents[1] if checkpoint.parent.name == CHECKPOINTS else checkpoint
    files = {
        file
        for folder in (checkpoint, run, run.parent)
        for depth in ("*", "*/*", "*/*/*")
        for file in folder.glob(f"{depth}/{RESULTS}")
    }
    for file in sorted(files):
        try:
            record = read_record(file.parent)
        except ForehandError:  # results of something else
            continue
        if record.episodes and record.shard is None and record.config.get("replay") is None:
            yield record
