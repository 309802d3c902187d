"""Putting finished episodes together into a LeRobotDataset v3.0, so that being killed at any moment loses none.

New episodes become new files beside those that are there, as LeRobot's own ``resume`` does it. The new files and the
whole new metadata are written to ``.recording/next``, which becomes ``.recording/ready`` by one rename. From then on they
are moved to their places, however often that is interrupted; only then do the single episodes go. An episode's number
says whether it has arrived: those below ``total_episodes`` have.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from forehand.contract import Contract, differences
from forehand.data.features import ANNOTATION, INFO_FILE, read_contract, read_info, to_features, write_contract
from forehand.data.locate import READY, check_dataset
from forehand.data.recorder import read_staged, remove_unfinished, staged, staging
from forehand.data.tables import BOOKKEEPING, new_info
from forehand.data.writing import write_episodes
from forehand.errors import ContractMismatch, DatasetError

Features = dict[str, dict[str, Any]]

_NEXT, _LOCK, _CONTRACT = "next", "lock", "contract.json"


@contextlib.contextmanager
def recording(root: Path) -> Iterator[None]:
    """Be the one who records at ``root``: others are kept out, and what a killed recording left behind is put right.

    Raises :class:`DatasetError` if somebody else is recording there, or the folder holds something else.
    """
    if root.exists() and not (staging(root).exists() or (root / INFO_FILE).exists() or not any(root.iterdir())):
        raise DatasetError(f"{root.absolute()} holds other files and no dataset. Choose a new folder to record to.")
    staging(root).mkdir(parents=True, exist_ok=True)
    lock = FileLock(staging(root) / _LOCK)
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
        if not staged(root) and not (staging(root) / READY).exists():
            shutil.rmtree(staging(root), ignore_errors=True)
            with contextlib.suppress(OSError):
                root.rmdir()  # unless something was recorded
        lock.release()


def check_fit(root: Path, contract: Contract) -> None:
    """Raise :class:`ContractMismatch` unless what is at ``root`` can be gone on with under ``contract``.

    Call it once within :func:`recording`, before the first episode is saved: it also notes what these will be under.
    """
    note = staging(root) / _CONTRACT
    published = (root / INFO_FILE).exists()
    if not staged(root):
        note.write_text(contract.to_json())
    there = read_contract(check_dataset(root)) if published else Contract.from_json(note.read_text())
    if there != contract:
        listing = (
            "\n".join(f"  - {m}" for m in differences(there, contract)) or "  - one of them says more than the other"
        )
        raise ContractMismatch(
            f"What was recorded at {root.absolute()} has another contract than the robot that is to go on:\n{listing}\n"
            f"Use the same robot options, or record to another folder."
        )
    if published:
        _check_features(root, read_info(root)["features"], to_features(contract))


def finished(root: Path) -> set[int]:
    """The numbers of all finished episodes at ``root``, put together or waiting."""
    return set(range(_episode_count(root))) | set(staged(root))


def assemble(root: Path, robot: str | None = None) -> int:
    """Put waiting episodes into the dataset in the order of their numbers, and return how many it then has.

    Episodes behind a missing number go on waiting for it. Only within :func:`recording`. ``robot`` is noted as the
    dataset's robot type.
    """
    count = _episode_count(root)
    waiting = staged(root)
    indices = range(count, count + next(i for i in range(len(waiting) + 1) if count + i not in waiting))
    if not indices:
        return count
    new = [read_staged(i, waiting[i]) for i in indices]
    contract = Contract.from_json((staging(root) / _CONTRACT).read_text())
    target = staging(root) / _NEXT
    shutil.rmtree(target, ignore_errors=True)
    if count:
        shutil.copytree(root / "meta", target / "meta")
        info = read_info(root)
    else:
        write_contract(target, contract)
        annotations = dict.fromkeys(name for episode in new for name in episode.annotations)
        info = new_info(contract, new[0].encoding, robot, annotations)
    write_episodes(root, target, new, contract, info)
    target.rename(staging(root) / READY)
    _install(root)
    return count + len(new)


def _check_features(root: Path, there: Features, ours: Features) -> None:
    known = BOOKKEEPING | {key: feature["dtype"] for key, feature in ours.items()}
    strange = [
        f"{key} ({f['dtype']})"
        for key, f in there.items()
        if f["dtype"] != known.get(key, "string" if key.startswith(ANNOTATION) else None)
    ]
    if strange:
        raise DatasetError(
            f"The dataset at {root.absolute()} has {', '.join(strange)}, which is not what is recorded here. Record to "
            f"another folder, and train on both."
        )


def _install(root: Path) -> None:
    """Move what is ready to its place, and drop the episodes that have thereby arrived."""
    ready = staging(root) / READY
    if ready.exists():
        # What makes the rest visible comes last.
        files = sorted((p for p in ready.rglob("*") if p.is_file()), key=lambda p: (p.name == "info.json", p))
        for file in files:
            place = root / file.relative_to(ready)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
        shutil.rmtree(ready)
    for index, folder in staged(root).items():
        if index < _episode_count(root):
            shutil.rmtree(folder)


def _episode_count(root: Path) -> int:
    return int(read_info(root)["total_episodes"]) if (root / INFO_FILE).exists() else 0
