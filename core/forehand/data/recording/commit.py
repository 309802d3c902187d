"""Atomic commit of finished episodes to a LeRobotDataset v3.0; a crash at any moment loses none.

New episodes become new files beside those that are there, as LeRobot's own ``resume`` does it. The new files and the
whole new metadata are written to ``.recording/next``, which becomes ``.recording/ready`` by one rename. From then on they
are moved to their places, however often that is interrupted; only then are the single episodes removed. An episode is
committed if its number is below ``total_episodes``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from forehand.contracts.compatibility import differences
from forehand.contracts.contract import Contract
from forehand.data.features import (
    ANNOTATION_PREFIX,
    INFO_FILE,
    read_contract,
    read_info,
    read_mapping,
    to_features,
    write_contract,
)
from forehand.data.lerobot.formats import open_layout
from forehand.data.lerobot.locate import READY, check_dataset
from forehand.data.lerobot.v3 import FORMAT, LayoutV3
from forehand.data.recording.recorder import read_staged, remove_unfinished, staged_episodes, staging_folder
from forehand.data.recording.tables import BOOKKEEPING, new_info, write_json
from forehand.data.recording.writer import write_episodes
from forehand.errors import ContractMismatch, DatasetError

Features = dict[str, dict[str, Any]]

_NEXT, _LOCK, _CONTRACT, _COMMITTED = "next", "lock", "contract.json", "committed.json"


@contextlib.contextmanager
def recording_lock(root: Path, mark: str = INFO_FILE) -> Iterator[None]:
    """Exclusive lock on recording at ``root``; the remains of a killed recording are cleaned up first.

    mark: a file by which the folder is known to be one of recordings. Raises :class:`DatasetError` if another process is
    recording there, or the folder holds other files.
    """
    marked = any(path.exists() for path in (staging_folder(root), root / INFO_FILE, root / mark))
    if root.exists() and not marked and any(root.iterdir()):
        raise DatasetError(f"{root.absolute()} holds other files and no dataset. Choose a new folder to record to.")
    staging_folder(root).mkdir(parents=True, exist_ok=True)
    lock = FileLock(staging_folder(root) / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"Another process is recording at {root.absolute()}. Wait for it, or choose another folder."
        raise DatasetError(message) from None
    try:
        _install(root)
        remove_unfinished(root)
        yield
    finally:
        if not staged_episodes(root) and not (staging_folder(root) / READY).exists():
            shutil.rmtree(staging_folder(root), ignore_errors=True)
            with contextlib.suppress(OSError):
                root.rmdir()  # unless something was recorded
        lock.release()


def require_same_contract(root: Path, contract: Contract) -> None:
    """Raise :class:`ContractMismatch` unless the dataset at ``root`` can be continued under ``contract``.

    Call it once within :func:`recording_lock`, before the first episode is saved: it also stores their contract.
    """
    note = staging_folder(root) / _CONTRACT
    published = (root / INFO_FILE).exists()
    if not staged_episodes(root):
        note.write_text(contract.to_json())
    if published and not isinstance(layout := open_layout(check_dataset(root, stateless=True)), LayoutV3):
        raise DatasetError(
            f"The dataset at {root.absolute()} has format {layout.info['codebase_version']}, and {FORMAT} is recorded. "
            f"Record to another folder, and train on both."
        )
    there = read_contract(root) if published else Contract.from_dict(read_mapping(note))
    if there != contract:
        listing = (
            "\n".join(f"  - {m}" for m in differences(there, contract)) or "  - one of them states more than the other"
        )
        raise ContractMismatch(
            f"The episodes at {root.absolute()} have another contract than the robot that is to continue:\n{listing}\n"
            f"Use the same robot options, or record to another folder."
        )
    if published:
        _check_features(root, read_info(root)["features"], to_features(contract))


def finished_episodes(root: Path) -> set[int]:
    """The numbers of all finished episodes at ``root``, committed or waiting."""
    return set(range(_episode_count(root))) | set(staged_episodes(root))


def commit_episodes(
    root: Path,
    robot: str | None = None,
    numbers: Sequence[int] | None = None,
    documents: Mapping[str, Any] | None = None,
) -> int:
    """Move waiting episodes into the dataset in the order of their numbers; returns how many it then has.

    Episodes after a missing number keep waiting for it, unless ``numbers`` are those to be moved: then they follow each
    other in the dataset without gaps. Only within :func:`recording_lock`. ``robot`` is stored as the dataset's robot
    type. documents: path in the dataset → content of JSON files that appear together with the episodes.
    """
    count = _episode_count(root)
    waiting = staged_episodes(root)
    if numbers is None:
        numbers = range(count, count + next(i for i in range(len(waiting) + 1) if count + i not in waiting))
    if not numbers:
        return count
    new = [read_staged(count + i, waiting[number]) for i, number in enumerate(numbers)]
    contract = Contract.from_json((staging_folder(root) / _CONTRACT).read_text())
    target = staging(root)
    if count:
        shutil.copytree(root / "meta", target / "meta")
        info = read_info(root)
    else:
        write_contract(target, contract)
        annotations = dict.fromkeys(name for episode in new for name in episode.annotations)
        info = new_info(contract, new[0].encoding, robot, annotations)
    write_episodes(root, target, new, contract, info)
    for name, content in (documents or {}).items():
        write_json(target, name, content)
    (staging_folder(root) / _COMMITTED).write_text(json.dumps(list(numbers)))
    publish(root)
    return count + len(new)


def staging(root: Path) -> Path:
    """Where new files and metadata are written before :func:`publish`; empty. Only within :func:`recording_lock`."""
    target = staging_folder(root) / _NEXT
    shutil.rmtree(target, ignore_errors=True)
    return target


def publish(root: Path) -> None:
    """Make what was written to :func:`staging` part of the dataset: at once, also where that is interrupted."""
    (staging_folder(root) / _NEXT).rename(staging_folder(root) / READY)
    _install(root)


def _check_features(root: Path, there: Features, ours: Features) -> None:
    known = BOOKKEEPING | {key: feature["dtype"] for key, feature in ours.items()}
    strange = [
        f"{key} ({f['dtype']})"
        for key, f in there.items()
        if f["dtype"] != known.get(key, "string" if key.startswith(ANNOTATION_PREFIX) else None)
    ]
    if strange:
        raise DatasetError(
            f"The dataset at {root.absolute()} has {', '.join(strange)}, which is not what is recorded here. Record to "
            f"another folder, and train on both."
        )


def _install(root: Path) -> None:
    """Move what is ready to its place, and drop the episodes that have thereby arrived."""
    ready = staging_folder(root) / READY
    if ready.exists():
        # What makes the rest visible comes last.
        files = sorted((p for p in ready.rglob("*") if p.is_file()), key=lambda p: (p.name == "info.json", p))
        for file in files:
            place = root / file.relative_to(ready)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
        if (note := staging_folder(root) / _COMMITTED).exists():
            for number in set(json.loads(note.read_text())) & set(staged_episodes(root)):
                shutil.rmtree(staged_episodes(root)[number])
        shutil.rmtree(ready)
    for index, folder in staged_episodes(root).items():
        if index < _episode_count(root):
            shutil.rmtree(folder)


def _episode_count(root: Path) -> int:
    return int(read_info(root)["total_episodes"]) if (root / INFO_FILE).exists() else 0
