"""Jobs of a sweep: the folder of each, and the record in it of what has become of the job."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hydra.core.override_parser.types import Override

from forehand.utils.exclusive import exclusive
from forehand.utils.files import replacing

RECORD, LOCK = "job.json", ".job.lock"
WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED = "waiting", "running", "finished", "failed", "interrupted"

_LONGEST = 200
"""Characters of a folder's name, of which file systems take 255 bytes."""


@dataclass(frozen=True)
class JobRecord:
    """What has become of a job.

    overrides: the command line's options. state: one of the constants of this module. reason: of a job that is not
    finished, or why it was not run again. result: what its command measured last. began, ended: UTC, ISO 8601.
    """

    command: str
    overrides: Sequence[str]
    state: str = WAITING
    reason: str = ""
    result: str = ""
    host: str = ""
    process: int = 0
    began: str | None = None
    ended: str | None = None


def job_name(overrides: Sequence[Override]) -> str:
    """The name of a job's folder, which follows from the options that the sweep varies and their values.

    ``recipe.seed-0+policy-seer_small``; what is special in paths, shells or options is written as %2F, and a name that
    would be too long ends with a digest.
    """
    parts = (f"{o.get_key_element()}-{o.get_value_element_as_str()}" for o in overrides)
    name = "+".join(re.sub(r"[^\w.-]", _escaped, part) for part in parts)
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name or "."


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def read_job(folder: Path) -> JobRecord | None:
    """The record in ``folder``; None where there is none that can be read."""
    try:
        return JobRecord(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def write_job(folder: Path, job: JobRecord) -> None:
    """Put the record into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / RECORD) as staging:
        staging.write_text(json.dumps(asdict(job), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_done(folder: Path, overrides: Sequence[str]) -> bool:
    """Whether the job in ``folder`` has finished, with the same options."""
    job = read_job(folder)
    return job is not None and job.state == FINISHED and list(job.overrides) == list(overrides)


def is_running(folder: Path) -> bool:
    """Whether a process carries out the job in ``folder`` now."""
    if not (folder / LOCK).exists():
        return False
    with exclusive(folder / LOCK) as free:
        return not free


@contextmanager
def recorded(folder: Path, job: JobRecord, result: Callable[[], str]) -> Iterator[bool]:
    """Record of the job that the body carries out; False where another process does so already.

    ``result`` is asked in the end. What the body raises is recorded as an interruption unless it is an Exception.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK) as free:
        if not free:
            yield False
            return
        job = replace(job, state=RUNNING, host=platform.node(), process=os.getpid(), began=_now())
        write_job(folder, job)
        try:
            yield True
        except BaseException as error:
            state = FAILED if isinstance(error, Exception) else INTERRUPTED
            reason = "put into the queue again" if isinstance(error, SystemExit) else str(error)
            write_job(folder, replace(job, state=state, reason=reason, result=result(), ended=_now()))
            raise
        write_job(folder, replace(job, state=FINISHED, result=result(), ended=_now()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
