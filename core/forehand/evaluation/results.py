"""Evaluation results: episodes, tables, and the file that is kept up to date during a run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError
from forehand.evaluation.intervals import Interval, bootstrap_interval, mean_interval
from forehand.evaluation.journal import Journal, JournalEntry
from forehand.evaluation.probes import PROBES, probe_folder
from forehand.evaluation.rates import (
    ChainSuccess,
    ProbeResult,
    ReturnResult,
    TaskResult,
    probe_rows,
    rate_rows,
    return_rows,
)
from forehand.robot import Episode
from forehand.utils.exclusive import exclusive
from forehand.utils.files import replacing
from forehand.utils.plain import to_plain
from forehand.utils.reading import read_json, require_literal
from forehand.utils.renames import renamed_keys

RESULTS, TABLE, LOCK = "results.json", "table.md", ".lock"
FORMAT = 1
GROWTH = 1.5
"""How many times as many trials are finished when ``results.json`` is written whole again during a run."""

RESULTS_BYTES = 2**30
"""The largest ``results.json`` that is read: of a million episodes."""


@dataclass(frozen=True)
class EpisodeResult:
    """One finished episode.

    index: its trial's place in the benchmark's list; position: its place in the trial, a chain's first being 0;
    instruction_given: the policy's instruction, while success is judged on ``instruction``; steps: control steps until it
    ended; seconds: wall time; video: path relative to the output folder; repeated: the trial had been begun
    before, and its simulator died; episode_return: sum of its rewards. Of success and return one may be unknown.
    """

    index: int
    task: str
    instruction: str
    instruction_given: str
    seed: int
    success: bool | None
    steps: int
    seconds: float
    video: str | None = None
    position: int = 0
    repeated: bool = False
    episode_return: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """This episode's entry of ``results.json``, where ``instruction_given`` is called ``heard``."""
        entry = {"heard" if key == "instruction_given" else key: value for key, value in asdict(self).items()}
        usual = {"repeated": False, "episode_return": None}
        return {key: value for key, value in entry.items() if key not in usual or value is not usual[key]}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> EpisodeResult:
        """The inverse of :meth:`to_dict`; raises ``TypeError`` for an entry of other keys."""
        return cls(**{"instruction_given" if key == "heard" else key: value for key, value in entry.items()})


@dataclass(frozen=True)
class Evaluation:
    """All finished episodes, by trial and position, and the manifest: where they come from.

    length: how many episodes a whole trial has, more than one for chains; probes: the same with one thing changed
    (:mod:`~forehand.evaluation.probes`), as far as they were made.
    """

    episodes: tuple[EpisodeResult, ...]
    length: int = 1
    manifest: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    probes: Mapping[str, Evaluation] = field(default_factory=dict)

    @property
    def total(self) -> TaskResult:
        """All tasks together."""
        return _count("all", self.episodes)

    @property
    def tasks(self) -> list[TaskResult]:
        """Each task, in the order of its first episode."""
        names = dict.fromkeys(e.task for e in self.episodes)
        return [_count(name, [e for e in self.episodes if e.task == name]) for name in names]

    @property
    def returns(self) -> list[ReturnResult]:
        """Each task with rewards, in the order of its first episode, and all together; [] without rewards."""
        by_task: dict[str, list[float]] = {}
        for episode in self.episodes:
            if episode.episode_return is not None:
                by_task.setdefault(episode.task, []).append(episode.episode_return)
        everything = [value for values in by_task.values() for value in values]
        rows = [*by_task.items(), ("all", everything)] if everything else []
        return [ReturnResult(name, len(v), statistics.fmean(v), bootstrap_interval(v)) for name, v in rows]

    @property
    def lengths(self) -> list[int]:
        """How many episodes in a row succeeded in each finished trial."""
        found: dict[int, int] = {}
        for episode in self.episodes:
            found[episode.index] = found.get(episode.index, 0) + bool(episode.success)
        return list(found.values())

    @property
    def chains(self) -> list[ChainSuccess]:
        """Success of 1, 2, … episodes in a row."""
        lengths = self.lengths
        return [ChainSuccess(k, len(lengths), sum(n >= k for n in lengths)) for k in range(1, self.length + 1)]

    @property
    def average_length(self) -> float:
        """Successes in a row, on average over the trials; 0 where nothing was tried."""
        return sum(self.lengths) / len(self.lengths) if self.lengths else 0.0

    @property
    def average_interval(self) -> Interval:
        """The 95 % interval of the average length."""
        return mean_interval(self.lengths, 0.0, float(self.length))

    @property
    def notes(self) -> list[str]:
        """What is to be said with the numbers: settings of the benchmark, and trials that were repeated."""
        repeated = len({episode.index for episode in self.episodes if episode.repeated})
        said = [str(note) for note in (self.manifest.get("setup") or {}).get("notes", [])]
        return [*said, f"{repeated} of {len(self.lengths)} trials repeated: the simulator died"] if repeated else said

    def metric(self, probe: str = "") -> ProbeResult:
        """The main metric: the average length of chains, else the success rate; ``probe``: what this evaluation is."""
        if self.length > 1:
            return ProbeResult(probe, len(self.lengths), self.average_length, self.average_interval)
        return ProbeResult(probe, self.total.n, self.total.rate, self.total.interval)

    @property
    def probed(self) -> dict[str, ProbeResult]:
        """The main metric of each probe that was made."""
        return {name: probe.metric(name) for name, probe in self.probes.items()}

    def table(self) -> str:
        """Markdown: for chains success of 1, 2, … in a row, beside the probes; success and return by task, where known;
        :attr:`notes`.
        """
        tasks = [*self.tasks, self.total]
        judged = self.total.n or not self.returns
        metric = "average length" if self.length > 1 else "rate"
        parts = [
            *([self._chain_table()] if self.length > 1 else []),
            *([probe_rows(self.metric(), self.probed, metric)] if self.length > 1 or self.probes else []),
            *([rate_rows(tasks, "task", [row.task for row in tasks])] if judged else []),
            *([return_rows(self.returns)] if self.returns else []),
        ]
        return "\n\n".join([*parts, *(["\n".join(f"- {note}" for note in self.notes)] if self.notes else [])])

    def _chain_table(self) -> str:
        rows = self.chains
        average = f"| average length | {rows[0].n} | | {self.average_length:.2f} | {self.average_interval} |"
        return f"{rate_rows(rows, 'in a row', [str(row.length) for row in rows])}\n{average}"

    def to_dict(self) -> dict[str, Any]:
        """What ``results.json`` holds."""
        rows = [
            {"task": r.task, "n": r.n, "successes": r.successes, "rate": r.rate, "interval": list(r.interval)}
            for r in [self.total, *self.tasks]
        ]
        return {
            **self.manifest,
            "success_rate": self.total.rate,
            "success_interval": list(self.total.interval),
            "table": rows,
            **self._return_facts(),
            **self._chain_facts(),
            **self._probe_facts(),
            "episodes": [e.to_dict() for e in self.episodes],
        }

    def _return_facts(self) -> dict[str, Any]:
        rows = [asdict(row) | {"interval": row.interval and list(row.interval)} for row in self.returns]
        return {"returns": rows} if rows else {}

    def _probe_facts(self) -> dict[str, Any]:
        rows = {name: asdict(row) | {"interval": list(row.interval)} for name, row in self.probed.items()}
        return {"probes": rows} if rows else {}

    def _chain_facts(self) -> dict[str, Any]:
        if self.length == 1:
            return {}
        rows = [asdict(row) | {"interval": list(row.interval)} for row in self.chains]
        return {"in_a_row": rows, "average_length": self.average_length, "average_interval": list(self.average_interval)}


class ResultsFile:
    """``results.json`` in an output folder, and beside it, during a run, the trials that it does not hold yet.

    Every finished trial is appended to a :class:`~forehand.evaluation.journal.Journal` at once, so that nothing is lost.
    The file itself, which holds the whole plan, is written when :data:`GROWTH` times as many trials are finished as when
    it was written last: what is written in all does not grow with the square of their number.
    """

    def __init__(
        self,
        folder: Path,
        plan: Sequence[Mapping[str, Any]],
        setup: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        shard: Mapping[str, Any] | None = None,
        started: str | None = None,
    ) -> None:
        """All as plain JSON values. ``plan``: what identifies each episode; ``setup``: what else determines the outcome;
        ``config``: the evaluation's configuration, for a replay; ``shard``: ``index``, ``count`` and ``trials`` of the
        part of the plan that is driven here, if it is a part; ``started``: the time, default now.
        """
        self.folder = folder
        self.plan = to_plain(plan)
        self.setup = to_plain(setup)
        self.config = to_plain(config or {})
        self.shard = None if shard is None else to_plain(shard)
        self._started = started or _now()
        self._journal, self._whole = Journal(folder), 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the folder; raises :class:`ConfigurationError` while one does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self.folder / LOCK) as free:
            if not free:
                raise ConfigurationError(
                    f"Another process is evaluating into {self.folder.absolute()}. Wait for it, or choose another output "
                    f"(each shard needs one of its own)."
                )
            yield

    def finished(self) -> list[EpisodeResult]:
        """The episodes that an earlier run of the same evaluation finished; another evaluation's are refused."""
        if not (self.folder / RESULTS).exists():
            return []
        record = read_record(self.folder)
        self._started, setup = record.started, renamed_keys(record.setup, command="eval")
        differing = sorted(k for k in self.setup.keys() | setup.keys() if self.setup.get(k) != setup.get(k))
        differing += ["episodes"] if record.plan != self.plan else []
        differing += ["shard"] if record.shard != self.shard else []
        if differing:
            raise ConfigurationError(
                f"{self.folder} holds another evaluation: {', '.join(differing)} differ. "
                f"Choose another output, or repeat the command it was made with to continue it."
            )
        return record.episodes

    def add(self, trial: Sequence[EpisodeResult], evaluation: Evaluation, provenance: Mapping[str, Any]) -> None:
        """Keep the episodes of a ``trial`` that has finished, the last one of ``evaluation``."""
        self._journal.append(JournalEntry(_now(), [episode.to_dict() for episode in trial]))
        if len(evaluation.lengths) >= GROWTH * self._whole:
            self.write(evaluation, provenance)

    def write(self, evaluation: Evaluation, provenance: Mapping[str, Any]) -> Evaluation:
        """Write ``evaluation`` whole; returns it with its manifest."""
        manifest = {
            "format": FORMAT,
            "started": self._started,
            "written": _now(),
            "complete": len(evaluation.lengths) == len({episode["trial"] for episode in self.plan}),
            "provenance": dict(provenance),
            **({} if self.shard is None else {"shard": self.shard}),
            "setup": self.setup,
            "config": self.config,
            "plan": self.plan,
        }
        kept = replace(evaluation, manifest=manifest, folder=self.folder, probes=read_probes(self.folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(self.folder / RESULTS, json.dumps(kept.to_dict(), indent=2, ensure_ascii=False) + "\n")
        _replace(self.folder / TABLE, kept.table() + "\n")
        self._journal.remove()
        self._whole = len(kept.lengths)
        return kept


def trial_plan(trials: Sequence[Sequence[Episode]], instruction_given: Callable[[Episode], str]) -> list[dict[str, Any]]:
    """What identifies each episode of an evaluation, and which trial it belongs to."""
    return [
        asdict(episode) | {"options": dict(episode.options), "heard": instruction_given(episode), "trial": number}
        for number, trial in enumerate(trials)
        for episode in trial
    ]


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluation as read from its output ``folder``.

    plan, setup, config, shard, started: as in :class:`ResultsFile`; written: the time of the last episode.
    """

    folder: Path
    started: str
    written: str
    provenance: dict[str, Any]
    plan: list[dict[str, Any]]
    setup: dict[str, Any]
    config: dict[str, Any]
    episodes: list[EpisodeResult]
    shard: dict[str, Any] | None = None

    @property
    def evaluation(self) -> Evaluation:
        """Its episodes, counted."""
        length = max(map(len, self.trials), default=1)
        probes = read_probes(self.folder)
        return Evaluation(tuple(self.episodes), length, {"setup": self.setup}, self.folder, probes)

    @property
    def trials(self) -> list[tuple[Episode, ...]]:
        """Every trial that was planned."""
        found: dict[int, list[Episode]] = {}
        for entry in self.plan:
            facts = {f.name: entry[f.name] for f in fields(Episode)}
            found.setdefault(entry["trial"], []).append(Episode(**facts))
        return [tuple(trial) for trial in found.values()]


def read_record(folder: Path) -> EvaluationRecord:
    """What an evaluation, which may still run, wrote into ``folder``; raises :class:`ConfigurationError` for nothing."""
    path = folder / RESULTS
    try:
        later = Journal(folder).read()  # before the file, which may take its trials up meanwhile
        data = read_json(path, RESULTS_BYTES)
        require_literal(data.get("config", {}), "config")
        known = {e["index"] for e in data["episodes"]}
        listed = [*data["episodes"], *(e for entry in later for e in entry.episodes if e["index"] not in known)]
        episodes = sorted(map(EpisodeResult.from_dict, listed), key=lambda e: (e.index, e.position))
        return EvaluationRecord(
            folder,
            data["started"],
            max([data["written"], *(entry.written for entry in later)]),
            data["provenance"],
            data["plan"],
            data["setup"],
            data.get("config", {}),
            episodes,
            data.get("shard"),
        )
    except OSError as error:
        raise ConfigurationError(
            f"There is no evaluation in {folder}: {path} cannot be read ({error.strerror})."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is not an evaluation's results ({error}); choose another output.") from error


def read_probes(folder: Path) -> dict[str, Evaluation]:
    """The probes that were made of the evaluation in ``folder``."""
    made = {name: probe_folder(folder, name) for name in PROBES}
    return {name: read_record(path).evaluation for name, path in made.items() if (path / RESULTS).exists()}


def _count(name: str, episodes: Sequence[EpisodeResult]) -> TaskResult:
    judged = [e.success for e in episodes if e.success is not None]
    return TaskResult(name, len(judged), sum(judged))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _replace(path: Path, text: str) -> None:
    with replacing(path) as staging:
        staging.write_text(text, encoding="utf-8")
