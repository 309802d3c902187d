"""Merging of evaluations that shared their trials, such as shards, into what a single process would have written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError
from forehand.evaluation.probes import PROBES, probe_folder
from forehand.evaluation.results import RESULTS, EpisodeResult, Evaluation, EvaluationRecord, ResultsFile, read_record
from forehand.evaluation.shards import Shard
from forehand.evaluation.trials import VIDEOS
from forehand.plugins import registry
from forehand.utils.differences import differences, flat
from forehand.utils.files import link_or_copy
from forehand.utils.provenance import provenance
from forehand.utils.renames import renamed_keys

log = logging.getLogger(__name__)

RUNS = "runs"
"""Where a merged manifest's provenance lists the runs that it was made of."""

_PLACES = ("policy.checkpoint", "policy_facts.checkpoint")


def merge_results(folders: Sequence[Path], output: Path, *, partial: bool = False) -> Evaluation:
    """Write the results of all ``folders`` to ``output``: ``results.json``, ``table.md`` and ``videos/``.

    Each folder is that of an evaluation, or holds such folders. They must be of the same setup, policy and planned
    episodes; checkpoints are compared by their fingerprints, wherever they lie. partial: go on where trials are missing.
    Probes are merged likewise. What is merged stays as it is; an earlier merge in ``output`` is replaced. Raises
    :class:`ConfigurationError` naming what differs, trials that came out otherwise in two folders, missing shards and
    unfinished ones.
    """
    records = [read_record(folder) for folder in find_runs(folders, output)]
    first = records[0]
    for other in records[1:]:
        _require_same(first, other)
    results = _episodes(records)
    selection = _selection(records)
    if missing := [i for i in selection if i not in results]:
        said = _missing(records, missing, len(selection))
        if not partial:
            raise ConfigurationError(f"{said}\nTo merge what there is, add partial=true.")
        log.warning("%s", said)
    if len({json.dumps(_software(record), sort_keys=True) for record in records}) > 1:
        log.warning("the runs were made with different versions: %s", _listing(_different_software(records)))
    config = first.config
    if config:
        whole = len(selection) == len(first.trials)
        config = config | {"shard": None, "trials": None if whole else selection, "output": str(output)}
    file = ResultsFile(output, first.plan, first.setup, config, started=min(record.started for record in records))
    with file.locked():
        if (output / RESULTS).exists() and RUNS not in read_record(output).provenance:
            raise ConfigurationError(
                f"{output} holds an evaluation that was not merged. Choose another output, which comes before the runs."
            )
        chosen = [_with_video(episode, record, output) for i in sorted(results) for record, episode in results[i]]
        about = provenance(plugins=registry().versions()) | {RUNS: [_about(record) for record in records]}
        for probe in PROBES:
            made = [path for record in records if ((path := probe_folder(record.folder, probe)) / RESULTS).exists()]
            if made:
                merge_results(made, probe_folder(output, probe), partial=partial)
        return file.write(Evaluation(tuple(chosen), first.evaluation.length), about)


def find_runs(folders: Sequence[Path], output: Path) -> list[Path]:
    """The folders of evaluations among ``folders`` and, where one is none or is ``output``, right below it."""
    found: dict[Path, None] = {}
    for folder in folders:
        if (folder / RESULTS).is_file() and folder.absolute() != output.absolute():
            below = [folder]
        else:
            below = sorted(
                path.parent for path in folder.glob(f"*/{RESULTS}") if path.parent.absolute() != output.absolute()
            )
        if not below:
            raise ConfigurationError(f"There is no evaluation in {folder}: neither it nor a folder in it has {RESULTS}.")
        found |= dict.fromkeys(below)
    if not found:
        raise ConfigurationError("Nothing to merge was given: forehand results merge OUTPUT RUN…")
    return list(found)


# ---- comparing --------------------------------------------------------------------------------------------------------


def _require_same(first: EvaluationRecord, other: EvaluationRecord) -> None:
    differing = differences(_facts(first), _facts(other))
    if not any(record.config.get("robots") for record in (first, other)):
        differing += differences(_robot(first), _robot(other))
    if not differing and first.plan != other.plan:
        differing = [_differing_plan(first.plan, other.plan)]
    if differing:
        raise ConfigurationError(
            f"{first.folder} and {other.folder} are not parts of one evaluation:\n{_listing(differing)}\n"
            f"Merge what was made by the same command, but for shard, output, robots and workers."
        )


def _facts(record: EvaluationRecord) -> dict[str, Any]:
    """What determines the outcome, by dotted name; the places of a checkpoint only where it has no fingerprint."""
    facts = {key: value for key, value in flat(renamed_keys(record.setup, command="eval")).items() if value is not None}
    known = "policy_facts.fingerprint" in facts
    return {key: value for key, value in facts.items() if not (known and key in _PLACES)}


def _robot(record: EvaluationRecord) -> dict[str, Any]:
    """The simulator's options, by dotted name."""
    options = flat({"robot": record.config.get("robot")})
    return {key: value for key, value in options.items() if not key.endswith(".address")}


def _differing_plan(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> str:
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return f"planned episode {number}: {'; '.join(differences(flat(a), flat(b)))}"
    return f"planned episodes: {len(one)} and {len(other)}"


def _software(record: EvaluationRecord) -> dict[str, Any]:
    known = record.provenance
    return flat({key: known[key] for key in ("commit", "versions", "plugins", "python") if key in known})


def _different_software(records: Sequence[EvaluationRecord]) -> list[str]:
    first = _software(records[0])
    return list(dict.fromkeys(line for record in records[1:] for line in differences(first, _software(record))))


def _listing(lines: Sequence[str]) -> str:
    return "\n".join(f"  - {line}" for line in lines)


# ---- joining ----------------------------------------------------------------------------------------------------------


def _episodes(records: Sequence[EvaluationRecord]) -> dict[int, list[tuple[EvaluationRecord, EpisodeResult]]]:
    """The episodes of each trial, and the record that they are taken from: the first that has them."""
    found: dict[int, list[tuple[EvaluationRecord, EpisodeResult]]] = {}
    for record in records:
        mine: dict[int, list[EpisodeResult]] = {}
        for episode in record.episodes:
            mine.setdefault(episode.index, []).append(episode)
        if differing := [i for i in mine if i in found and _outcome(mine[i]) != _outcome([e for _, e in found[i]])]:
            earlier = found[differing[0]][0][0]
            raise ConfigurationError(
                f"Trials {_numbers(differing)} came out otherwise in {record.folder} than in {earlier.folder}. One of "
                f"them was made with something else than its manifest says; leave it out, or evaluate again."
            )
        for i, episodes in mine.items():
            had = found.get(i)
            if had is None or (episodes[0].video and not had[0][1].video):  # the same, with its video
                found[i] = [(record, episode) for episode in episodes]
    return found


def _outcome(episodes: Sequence[EpisodeResult]) -> list[EpisodeResult]:
    return [replace(episode, seconds=0.0, video=None) for episode in episodes]


def _selection(records: Sequence[EvaluationRecord]) -> list[int]:
    """The trials that all runs together were to drive, were they not cut into shards."""
    chosen: dict[int, None] = {}
    for record in records:
        only = record.config.get("trials")
        chosen |= dict.fromkeys(range(len(record.trials)) if only is None else only)
    return list(chosen)


def _missing(records: Sequence[EvaluationRecord], missing: Sequence[int], planned: int) -> str:
    """Which trials are missing, and the shards that were to drive them."""
    lines = []
    counts = {record.shard["count"] if record.shard else None for record in records}
    for record in records:
        mine = record.shard["trials"] if record.shard else []
        if left := [i for i in mine if i in missing]:
            assert record.shard
            lines.append(
                f"shard {record.shard['index']}/{record.shard['count']} in {record.folder} is not finished: trials "
                f"{_numbers(left)}; its command with output={record.folder} continues it"
            )
    if len(counts) == 1 and (count := counts.pop()) is not None:
        here = {record.shard["index"] for record in records if record.shard}
        selection = _selection(records)
        for index in sorted(set(range(1, count + 1)) - here):
            part = Shard(index, count).part(records[0].trials, selection)
            lines.append(f"shard {index}/{count} is missing: trials {_numbers(part)}")
    if not lines:
        lines.append(f"trials {_numbers(missing)} are in none of the runs")
    return f"Of {planned} trials, {len(missing)} are missing:\n{_listing(lines)}"


def _numbers(numbers: Sequence[int], shown: int = 12) -> str:
    rest = len(numbers) - shown
    return ", ".join(map(str, numbers[:shown])) + (f" and {rest} more" if rest > 0 else "")


def _with_video(episode: EpisodeResult, record: EvaluationRecord, output: Path) -> EpisodeResult:
    """The episode with its video in ``output``: linked where the file system can, else copied."""
    if episode.video is None:
        return episode
    video = Path(VIDEOS, Path(episode.video).name)
    source, target = record.folder / video, output / video
    if not source.is_file():
        log.warning("%s is not there, so the merged results have no video of it", source)
        return replace(episode, video=None)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    link_or_copy(source, target)
    return episode


def _about(record: EvaluationRecord) -> dict[str, Any]:
    shard = record.shard and f"{record.shard['index']}/{record.shard['count']}"
    return {
        "folder": str(record.folder),
        "shard": shard,
        "trials": len({episode.index for episode in record.episodes}),
        "started": record.started,
        "written": record.written,
        "provenance": record.provenance,
    }
