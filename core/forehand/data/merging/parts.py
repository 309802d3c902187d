"""Parts of a merged dataset: what they must have in common, and their order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from forehand.contracts.compatibility import differences, stated_by_both
from forehand.contracts.contract import Contract
from forehand.data.features import INFO_FILE, read_contract, read_info
from forehand.data.importing.job import Shard, differences_of
from forehand.data.importing.run import read_import_record
from forehand.data.lerobot.locate import check_dataset
from forehand.data.lerobot.v3 import FORMAT
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError


@dataclass(frozen=True)
class Part:
    """One dataset that is merged; ``record``: that of its import, if it was imported.

    A shard without episodes has a record alone.
    """

    root: Path
    info: Mapping[str, Any]
    record: Mapping[str, Any] | None

    @cached_property
    def contract(self) -> Contract:
        """Its contract."""
        return read_contract(self.root)

    @property
    def empty(self) -> bool:
        """Whether it has no episodes."""
        return not self.info

    @property
    def shard(self) -> Shard | None:
        """Which part of an import it is; None where it is all, or no import."""
        shard = Shard.parse(self.record["import"]["shard"]) if self.record else Shard()
        return shard if shard.count > 1 else None


def read_parts(roots: Sequence[Path]) -> list[Part]:
    """The datasets at ``roots`` in the order in which they are merged: that of their shards, if they are any.

    Raises :class:`DatasetError` or :class:`ContractMismatch` where they do not belong together, or a shard is missing.
    """
    if not roots:
        raise ConfigurationError("Name the datasets that are merged: forehand data merge FOLDER FOLDER … output=….")
    if len({root.resolve() for root in roots}) < len(roots):
        raise ConfigurationError("A dataset is named twice. Each is merged once.")
    parts = [_read(root) for root in roots]
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


def merged_record(parts: Sequence[Part]) -> dict[str, Any] | None:
    """The record of the import that all of ``parts`` are shards of, as if it had been a single one; else None."""
    records = [part.record for part in parts if part.record is not None]
    if len(records) < len(parts) or not all(part.shard for part in parts):
        return None
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


def _read(given: Path) -> Part:
    record = read_import_record(given)
    if record is not None and not (given / INFO_FILE).exists() and not record["episodes"]:
        return Part(given, {}, record)
    root = check_dataset(given)
    info = read_info(root)
    if not (version := str(info.get("codebase_version"))).startswith(FORMAT.split(".")[0]):
        raise DatasetError(f"{root} has format {version}, and datasets of {FORMAT} are merged. Convert it with LeRobot.")
    return Part(root, info, record)


def _require_alike(first: Part, other: Part) -> None:
    if stated_by_both(first.contract, other.contract) is None:
        listing = "\n".join(f"  - {d}" for d in differences(first.contract, other.contract))
        raise ContractMismatch(
            f"{first.root} and {other.root} have different contracts:\n"
            f"{listing or '  - limits of the robot'}\n"
            f"Import one of them again, or train on both without merging: as one, with convert, or as different robots."
        )
    features = [{k: (f["dtype"], list(f["shape"])) for k, f in part.info["features"].items()} for part in (first, other)]
    if features[0] != features[1] or first.info["fps"] != other.info["fps"]:
        odd = sorted(set(map(str, features[0].items())) ^ set(map(str, features[1].items())))
        raise DatasetError(f"{first.root} and {other.root} have different features or rates: {', '.join(odd) or 'fps'}.")


def _in_order(parts: Sequence[Part]) -> list[Part]:
    """Shards in their order; raises :class:`DatasetError` unless they are all shards of one import, each once."""
    shards: dict[int, Part] = {}
    count = next(part.shard.count for part in parts if part.shard)
    first: Mapping[str, Any] | None = None
    for part in parts:
        if part.shard is None or part.record is None or part.shard.count != count:
            raise DatasetError(f"{part.root} is none of the {count} shards that the others are. Merge it by itself.")
        if part.shard.number in shards:
            raise DatasetError(f"{part.root} and {shards[part.shard.number].root} are the same shard {part.shard}.")
        identity = {k: v for k, v in part.record["import"].items() if k != "shard"}
        first = first or identity
        if lines := differences_of(first, identity):
            raise DatasetError(
                f"{part.root} is a shard of another import than {parts[0].root}:\n  "
                + "\n  ".join(lines)
                + "\nImport it again as the others were."
            )
        shards[part.shard.number] = part
    if missing := [f"{i}/{count}" for i in range(1, count + 1) if i not in shards]:
        raise DatasetError(f"The shards {', '.join(missing)} are missing. Import them, and name all of them.")
    return [shards[number] for number in sorted(shards)]
