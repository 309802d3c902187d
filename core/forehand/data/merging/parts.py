"""Parts of a merged dataset: what they must have in common, and their order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forehand.contracts.compatibility import differences, stated_by_both
from forehand.contracts.contract import Contract
from forehand.data.features import INFO_FILE, read_contract, read_info, read_mapping
from forehand.data.importing.job import Shard, differences_of
from forehand.data.importing.run import read_import_record
from forehand.data.labels import LABEL_KEYS, LABELS_FILE
from forehand.data.lerobot.locate import check_dataset
from forehand.data.lerobot.v3 import FORMAT
from forehand.data.reading import read_table, table_files
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError

OF_A_SHARD = ("shard", "episodes", "labelled", "unknown", "replaced")
"""What the records of shards of one import or labelling have different."""


@dataclass(frozen=True)
class Part:
    """One dataset that is merged; ``record``: that of its import, if it was imported.

    A shard without episodes has a record alone. labellings: what its actions were labelled by, one after the other. span:
    the episodes of it that are merged; None: all.
    """

    root: Path
    info: Mapping[str, Any]
    record: Mapping[str, Any] | None
    labellings: Sequence[Mapping[str, Any]] = ()
    span: range | None = None

    @cached_property
    def contract(self) -> Contract:
        """Its contract."""
        return read_contract(self.root)

    def episode_rows(self) -> pa.Table:
        """Its table of episodes, of those that are merged."""
        files = table_files(self.root, "meta/episodes")
        rows = pa.concat_tables([read_table(file) for file in files], promote_options="default")
        return rows if self.span is None else rows.filter(np.isin(rows["episode_index"].to_numpy(), self.span))

    @property
    def empty(self) -> bool:
        """Whether it has no episodes."""
        return not self.info

    @property
    def job(self) -> Mapping[str, Any]:
        """The labelling or else the import that it is of, or a shard of; {} where it is of neither."""
        if len(self.labellings) == 1:
            return self.labellings[0]
        return self.record["import"] if self.record else {}

    @property
    def shard(self) -> Shard | None:
        """Which part of a labelling or an import it is; None where it is all, or of neither."""
        shard = Shard.parse(self.job.get("shard"))
        return shard if shard.count > 1 else None


def read_parts(roots: Sequence[Path]) -> list[Part]:
    """The datasets at ``roots`` in the order in which they are merged: that of their shards, if they are any.

    Raises :class:`DatasetError` or :class:`ContractMismatch` where they do not belong together, or a shard is missing.
    """
    if not roots:
        raise ConfigurationError("Name the datasets that are merged: forehand data merge FOLDER FOLDER … output=….")
    if len({root.resolve() for root in roots}) < len(roots):
        raise ConfigurationError("A dataset is named twice. Each is merged once.")
    parts = [read_part(root) for root in roots]
    whole = [part for part in parts if not part.empty]
    if not whole:
        raise DatasetError("None of the shards has an episode: everything was left out. Their records say why.")
    for part in whole[1:]:
        _require_alike(whole[0], part)
    for one, other in itertools.combinations({part.contract: part for part in whole}.values(), 2):
        _require_alike(one, other)  # what the first leaves unstated, two others may contradict
    if not any(part.shard for part in parts):
        return parts
    return _in_order(parts)


def merged_contract(parts: Sequence[Part]) -> tuple[Contract, list[str]]:
    """What the contracts of all ``parts`` state, and what is left out since only some state it, such as a unit."""
    first, *others = [part.contract for part in parts if not part.empty]
    left_out: list[str] = []
    for other in others:
        both = stated_by_both(first, other)
        assert both is not None  # by read_parts
        first, left_out = both[0], [*left_out, *(name for name in both[1] if name not in left_out)]
    return first, left_out


def merged_labellings(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """What the actions of ``parts`` were labelled by; shards of one labelling are it, as if it had been a single one."""
    found: list[dict[str, Any]] = []
    for part in parts:
        for one in part.labellings:
            if part.shard and found:
                found[0] = {**found[0], **{key: found[0][key] + one[key] for key in ("episodes", "labelled", "unknown")}}
            elif part.shard:  # an accuracy of its own says nothing of all
                found.append({**{key: of for key, of in one.items() if key != "replaced"}, "shard": str(Shard())})
            else:
                found.append(dict(one))
    return found


def merged_record(parts: Sequence[Part]) -> dict[str, Any] | None:
    """The record of the import that all of ``parts`` are shards of, as if it had been a single one; else None."""
    records = [part.record for part in parts if part.record is not None]
    if len(records) < len(parts) or not all(part.shard for part in parts):
        return None
    if any(part.labellings for part in parts):  # they are shards of a labelling, of one and the same import
        return dict(records[0]) if all(record == records[0] for record in records) else None
    skipped: dict[str, int] = {}
    for record in records:
        for reason, count in record["skipped_frames"].items():
            skipped[reason] = skipped.get(reason, 0) + count
    return {
        **records[0],
        "import": {**records[0]["import"], "shard": str(Shard())},
        "episodes": sum(record["episodes"] for record in records),
        "frames": sum(record["frames"] for record in records),
        "skipped_frames": dict(sorted(skipped.items())),
        "dropped_episodes": {id: why for record in records for id, why in record["dropped_episodes"].items()},
    }


def read_part(given: Path) -> Part:
    """The dataset at ``given``; raises :class:`DatasetError` for one that cannot be merged."""
    record = read_import_record(given)
    if record is not None and not (given / INFO_FILE).exists() and not record["episodes"]:
        return Part(given, {}, record)
    root = check_dataset(given, stateless=True)
    info = read_info(root)
    if not (version := str(info.get("codebase_version"))).startswith(FORMAT.split(".")[0]):
        raise DatasetError(
            f"{root} has format {version}, and datasets of {FORMAT} are put together. Convert it with LeRobot."
        )
    labels = read_mapping(root / LABELS_FILE)["labellings"] if (root / LABELS_FILE).exists() else ()
    return Part(root, info, record, labels)


def _require_alike(first: Part, other: Part) -> None:
    if stated_by_both(first.contract, other.contract) is None:
        listing = "\n".join(f"  - {d}" for d in differences(first.contract, other.contract))
        raise ContractMismatch(
            f"{first.root} and {other.root} have different contracts:\n"
            f"{listing or '  - limits of the robot'}\n"
            f"Import one of them again, or train on both without merging: as one, with convert, or as different robots."
        )
    features = [
        {k: (f["dtype"], list(f["shape"])) for k, f in part.info["features"].items() if k not in LABEL_KEYS}
        for part in (first, other)
    ]
    if features[0] != features[1] or first.info["fps"] != other.info["fps"]:
        odd = sorted(set(map(str, features[0].items())) ^ set(map(str, features[1].items())))
        raise DatasetError(f"{first.root} and {other.root} have different features or rates: {', '.join(odd) or 'fps'}.")


def _in_order(parts: Sequence[Part]) -> list[Part]:
    """Shards in their order; raises :class:`DatasetError` unless all are of one import or labelling, each once."""
    shards: dict[int, Part] = {}
    count = next(part.shard.count for part in parts if part.shard)
    first: Mapping[str, Any] | None = None
    for part in parts:
        if part.shard is None or part.shard.count != count:
            raise DatasetError(f"{part.root} is none of the {count} shards that the others are. Merge it by itself.")
        if part.shard.number in shards:
            raise DatasetError(f"{part.root} and {shards[part.shard.number].root} are the same shard {part.shard}.")
        identity = {k: v for k, v in part.job.items() if k not in OF_A_SHARD}
        first = first or identity
        if lines := differences_of(first, identity):
            raise DatasetError(
                f"{part.root} is a shard of another import or labelling than {parts[0].root}:\n  "
                + "\n  ".join(lines)
                + "\nMake it again as the others were."
            )
        shards[part.shard.number] = part
    if missing := [f"{i}/{count}" for i in range(1, count + 1) if i not in shards]:
        raise DatasetError(f"The shards {', '.join(missing)} are missing. Make them, and name all of them.")
    return [shards[number] for number in sorted(shards)]
