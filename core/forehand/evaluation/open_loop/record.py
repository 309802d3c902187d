"""Open-loop record: the output folder of an open-loop evaluation, kept up to date after every episode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.judge import JudgedEpisode
from forehand.evaluation.open_loop.scores import Scores, field_scores
from forehand.utils.exclusive import exclusive
from forehand.utils.files import link_or_copy, replacing
from forehand.utils.plain import to_plain
from forehand.utils.reading import read_json

OPEN_LOOP, EPISODES, LOCK = "open_loop.json", "episodes", ".lock"
FORMAT = 1
NO_SUCCESS_RATE = (
    "This is no success rate: it says how close predicted actions are to recorded ones, at recorded moments. A policy "
    "may differ from the recording and succeed, or stay close to it and fail."
)


NO_POLICY = (
    "What is judged here is no policy: actions read frames of the recording that lie ahead of them, which no robot has. "
    "The error says what reading the future could gain at best, with this network and these data."
)


@dataclass(frozen=True)
class PlannedEpisode:
    """One episode of the dataset.

    position: in the dataset; source: the number of its source; number: what the episode is called there; frames: how
    many; seen: whether the policy was trained on it, None where that is not known; left_out: why it is not judged, ""
    where it is; kind: the name of its task in the recording, where it has one beside the sentence.
    """

    position: int
    source: int
    number: int
    task: str
    frames: int
    seen: bool | None = None
    left_out: str = ""
    kind: str = ""


@dataclass(frozen=True)
class OpenLoopRecord:
    """An open-loop evaluation in its output ``folder``.

    contract: of the dataset. setup: what determines the outcome, as plain values. plan: every episode. about: what is
    stated beside it (``notes``, ``provenance``, ``success``). shard: the positions of a part, None for all.
    """

    folder: Path
    contract: Contract
    setup: Mapping[str, Any]
    plan: Sequence[PlannedEpisode]
    about: Mapping[str, Any]
    shard: Mapping[str, Any] | None = None
    started: str = ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the folder; raises :class:`ConfigurationError` while one does."""
        (self.folder / EPISODES).mkdir(parents=True, exist_ok=True)
        with exclusive(self.folder / LOCK) as free:
            if not free:
                raise ConfigurationError(
                    f"Another process is evaluating into {self.folder.absolute()}. Wait for it, or choose another output."
                )
            yield

    @property
    def chosen(self) -> list[int]:
        """The positions of the episodes that are to be judged here."""
        kept = [one.position for one in self.plan if not one.left_out]
        return kept if self.shard is None else [p for p in kept if p in set(self.shard["episodes"])]

    @property
    def finished(self) -> list[int]:
        """The positions of those that have been judged."""
        return [position for position in self.chosen if self._path(position).is_file()]

    def continued(self) -> OpenLoopRecord:
        """This one with the beginning of an earlier run of it in the same folder; another evaluation's is refused."""
        if not (self.folder / OPEN_LOOP).is_file():
            return replace(self, started=datetime.now(UTC).isoformat(timespec="seconds"))
        there = read_open_loop(self.folder)
        ours, theirs = self._facts(), there._facts()
        if differing := [key for key in ours if ours[key] != theirs[key]]:
            raise ConfigurationError(
                f"{self.folder} holds another open-loop evaluation: {', '.join(differing)} differ. Choose another "
                f"output, or repeat the command it was made with to continue it."
            )
        return replace(self, started=there.started)

    def keep(self, judged: JudgedEpisode) -> None:
        """Store one episode."""
        with replacing(self._path(judged.position)) as staging, staging.open("wb") as file:
            curves = {"frames": judged.frames, "predicted": judged.predicted, "done": judged.done}
            np.savez_compressed(file, **curves, **judged.scores.arrays())  # type: ignore[arg-type]

    def judged(self, position: int) -> JudgedEpisode:
        """A stored episode; raises :class:`ConfigurationError` where its file is damaged."""
        path = self._path(position)
        try:
            with np.load(path) as held:
                arrays = dict(held)
            scores = Scores.from_arrays(arrays)
            return JudgedEpisode(position, arrays["frames"], arrays["predicted"], arrays["done"], scores)
        except Exception as error:  # of zipfile, zlib and numpy
            raise ConfigurationError(
                f"{path} cannot be read ({error}). Remove it; the same command judges that episode again."
            ) from error

    def take_over(self, other: OpenLoopRecord) -> None:
        """Let this folder have the judged episodes of ``other``, a part of the same evaluation; refused for another."""
        ours, theirs = ({k: v for k, v in one._facts().items() if k != "shard"} for one in (self, other))
        if differing := [key for key in ours if ours[key] != theirs[key]]:
            raise ConfigurationError(
                f"{other.folder} is no part of the evaluation in {self.folder}: {', '.join(differing)} differ."
            )
        for position in other.finished:
            path = self._path(position)
            path.unlink(missing_ok=True)
            link_or_copy(other._path(position), path)

    def write(self) -> dict[str, Any]:
        """Write ``open_loop.json`` of what has been judged so far; returns it."""
        finished = {position: self.judged(position).scores for position in self.finished}
        planned = {one.position: one for one in self.plan}
        by_task: dict[str, list[Scores]] = {}
        by_seen: dict[bool | None, list[Scores]] = {}
        for position, scores in finished.items():
            by_task.setdefault(planned[position].task, []).append(scores)
            by_seen.setdefault(planned[position].seen, []).append(scores)
        total = Scores.total(finished.values()) if finished else None
        found = to_plain(
            {
                "format": FORMAT,
                "kind": "open_loop",
                "warning": NO_SUCCESS_RATE,
                "started": self.started,
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "complete": len(finished) == len(self.chosen),
                **self.about,
                **({} if self.shard is None else {"shard": self.shard}),
                "setup": self.setup,
                "contract": self.contract.to_dict(),
                "fields": self._rows(total),
                "by_step": [] if total is None else [self._rows(total.step(i)) for i in range(len(total.count))],
                "by_task": {task: self._rows(Scores.total(of)) for task, of in by_task.items()},
                "by_seen": {_seen(seen): self._rows(Scores.total(of)) for seen, of in by_seen.items()},
                "episodes": [
                    {**one.__dict__, **({"fields": self._rows(finished[p])} if p in finished else {})}
                    for p, one in planned.items()
                ],
            }
        )
        assert isinstance(found, dict)
        with replacing(self.folder / OPEN_LOOP) as staging:
            staging.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        return found

    def _rows(self, scores: Scores | None) -> list[dict[str, Any]]:
        return [] if scores is None else [one.to_dict() for one in field_scores(self.contract, scores)]

    def _path(self, position: int) -> Path:
        return self.folder / EPISODES / f"{position:06d}.npz"

    def _facts(self) -> dict[str, Any]:
        """What has to be the same in two runs of one evaluation; what else is known of episodes is looked up."""
        episodes = [{**one.__dict__, "seen": None, "kind": ""} for one in self.plan]
        contract = self.contract.to_dict()
        found = {"setup": self.setup, "episodes": episodes, "contract": contract, "shard": self.shard}
        return {key: json.loads(json.dumps(to_plain(value))) for key, value in found.items()}


def _seen(seen: bool | None) -> str:
    return {True: "trained_on", False: "held_out", None: "not_known"}[seen]


def read_open_loop(folder: Path) -> OpenLoopRecord:
    """What an open-loop evaluation wrote into ``folder``; raises :class:`ConfigurationError` where that is nothing."""
    path = folder / OPEN_LOOP
    try:
        data = read_json(path)
        plan = [PlannedEpisode(**{k: v for k, v in one.items() if k != "fields"}) for one in data["episodes"]]
        about = {key: data[key] for key in ("notes", "provenance", "success", "rate") if key in data}
        contract = Contract.from_dict(data["contract"])
        return OpenLoopRecord(folder, contract, data["setup"], plan, about, data.get("shard"), data["started"])
    except OSError as error:
        raise ConfigurationError(
            f"There is no open-loop evaluation in {folder}: {path} cannot be read ({error.strerror})."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is not an open-loop evaluation's ({error}); choose another output.") from error
