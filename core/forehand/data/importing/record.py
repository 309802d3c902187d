"""Record of an import: source, statements, and what was left out, beside the dataset's metadata and in its card."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.data.content_digest import content_digest
from forehand.data.importing.importer import Importer
from forehand.data.importing.ledger import Outcome

IMPORT_FILE = "meta/forehand_import.json"
FORMAT = 1

_LISTED = 20  # dropped episodes that the card names


def import_record(
    identity: Mapping[str, Any],
    importer: Importer,
    outcomes: Sequence[Outcome],
    total: int,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``meta/forehand_import.json`` holds. total: episodes that are read, in all shards."""
    done = sorted(outcomes, key=lambda outcome: outcome.position)
    skipped: Counter[str] = Counter()
    for outcome in done:
        skipped.update(outcome.skipped)
    orientation = {camera.name: importer.orientation.get(camera.name, "upright") for camera in importer.contract.cameras}
    return {
        "format": FORMAT,
        "import": dict(identity),
        "statements": importer.statements.to_dict(),
        "orientation_in_source": orientation,
        "episodes_in_source": total + len(importer.dropped),
        "episodes": sum(outcome.dropped is None for outcome in done),
        "frames": sum(outcome.frames for outcome in done),
        "skipped_frames": dict(sorted(skipped.items())),
        "dropped_episodes": {**importer.dropped, **{o.id: o.dropped for o in done if o.dropped is not None}},
        "provenance": dict(provenance),
    }


def source_digest(files: Sequence[Path]) -> dict[str, Any]:
    """How many files identify a source, and a digest of their names, sizes and ends, the same wherever they lie.

    One that is missing counts as none: where it is needed, the episode that needs it is damaged.
    """
    files = [file for file in files if file.is_file()]
    root = Path(os.path.commonpath([file.absolute().parent for file in files])) if files else Path()
    return {"files": len(files), "digest": content_digest(root, [file.absolute() for file in files])}


def card_sections(record: Mapping[str, Any], command: str) -> list[str]:
    """The sections of the dataset's card about its origin, in Markdown."""
    source, dropped = record["import"]["source"], record["dropped_episodes"]
    parts = [
        f"## How it was imported\n\n```bash\n{command}\n```\n\nFrom a source of {record['episodes_in_source']} episodes "
        f"(digest `{source['digest']}` of {source['files']} files)."
    ]
    rows = "\n".join(f"| {n} | `{s['value']}` | {s['origin']} |" for n, s in record["statements"].items())
    parts.append(f"### What its numbers mean, and who says so\n\n| what | value | origin |\n| --- | --- | --- |\n{rows}")
    left_out = [f"- {count} frames: {reason}" for reason, count in record["skipped_frames"].items()]
    left_out += [f"- `{id}`: {reason}" for id, reason in list(dropped.items())[:_LISTED]]
    if len(dropped) > _LISTED:
        left_out.append(f"- and {len(dropped) - _LISTED} more episodes, listed in `{IMPORT_FILE}`")
    parts.append("### What was left out\n\n" + ("\n".join(left_out) or "Nothing."))
    return parts
