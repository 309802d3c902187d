"""Record of a study, ``study.json``: what was declared and when, and how long its parts took."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError
from forehand.learning.checkpoint import provenance
from forehand.plugins import registry
from forehand.utils.differences import differences, flat
from forehand.utils.files import replacing

RECORD = "study.json"
EXTENSIBLE = ("prepare", "stages", "arms", "judge", "interventions")
"""What may be added to when a study has begun: nothing of it changes what was declared before."""


def begin_record(folder: Path, declared: Mapping[str, Any]) -> dict[str, Any]:
    """The record in ``folder``: written now, or read, and extended by what ``declared`` adds to :data:`EXTENSIBLE`.

    Raises :class:`ConfigurationError` where something is declared otherwise than it was.
    """
    path = folder / RECORD
    if not path.exists():
        about = provenance(plugins=registry().versions())
        kept = {key: about[key] for key in ("commit", "machine", "versions", "plugins")}
        record = {"study": dict(declared), **kept, "declared": _now(), "prepared": {}, "staged": {}, "rounds": {}}
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder, record)
        return record
    record = json.loads(path.read_text(encoding="utf-8"))
    then, now = (_flat(of) for of in (record["study"], declared))
    added = [key for key in now if key not in then and key.partition(".")[0] in EXTENSIBLE]
    if found := differences(then, {key: of for key, of in now.items() if key not in added}):
        listing = "\n".join(f"  - {one}" for one in found)
        raise ConfigurationError(
            f"{folder} holds a study that was declared otherwise:\n{listing}\nWhat was declared stays, and "
            f"{', '.join(EXTENSIBLE)} may be added to. Choose another output for this one."
        )
    if added:
        record["study"] = dict(declared)
        record.setdefault("added", []).append({"what": added, "declared": _now()})
        write_record(folder, record)
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record, whole."""
    with replacing(folder / RECORD) as staging:
        staging.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _flat(declared: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted name, without what is left out by null."""
    return {key: of for key, of in flat(declared).items() if of is not None}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
