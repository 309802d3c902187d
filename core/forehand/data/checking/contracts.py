"""Checks of a dataset's contract against its metadata, and of what the contract leaves unstated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forehand.contracts.contract import Contract, Field
from forehand.data.checking.findings import ERROR, NOTE, WARNING, Finding, finding
from forehand.data.checking.table import FrameTable
from forehand.data.features import CONTRACT_FILE, INFO_FILE, derive_contract

REMEDY = f"Correct {CONTRACT_FILE}, or remove it to do without."


def check_stated(contract: Contract) -> Iterator[Finding]:
    """A note of what ``contract`` does not state, so that it is compared with nothing."""
    unstated = {
        "units": [f.name for f in _fields(contract) if f.unit is None],
        "modes of actions (absolute or delta)": [f.name for f in contract.action if f.mode is None],
        "ranges of actions": [f.name for f in contract.action if f.low is None or f.high is None],
    }
    lacking = {what: list(dict.fromkeys(names)) for what, names in unstated.items() if names}
    if lacking:
        words = "; ".join(f"{what}: {', '.join(names)}" for what, names in lacking.items())
        yield finding(
            "unstated",
            NOTE,
            f"the contract does not state {words}",
            f"What is not stated is compared with no robot: write it into {CONTRACT_FILE}.",
        )


def check_against_info(root: Path, contract: Contract, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings where the contract of the LeRobotDataset at ``root`` and its ``meta/info.json`` differ."""
    if not (root / CONTRACT_FILE).exists():
        return
    derived = derive_contract(info)
    there = {camera.name: camera for camera in derived.cameras}
    for camera in contract.cameras:
        if camera.name not in there:
            known = ", ".join(there) or "none"
            yield finding(
                "contract",
                ERROR,
                f"the contract has a camera {camera.name!r}, and the dataset has not; its cameras are {known}",
                REMEDY,
                camera.name,
            )
        elif (there[camera.name].height, there[camera.name].width) != (camera.height, camera.width):
            height, width = there[camera.name].height, there[camera.name].width
            yield finding(
                "contract",
                ERROR,
                f"the camera {camera.name!r} has {camera.height} × {camera.width} pixels by the contract, and "
                f"{height} × {width} by {INFO_FILE} (height × width)",
                REMEDY,
                camera.name,
            )
    for what, stated, found in (
        ("elements of the state", contract.state_size, derived.state_size),
        ("elements of the action", contract.action_size, derived.action_size),
        ("frames a second", contract.rate, derived.rate),
    ):
        if stated != found:
            yield finding(
                "contract", ERROR, f"there are {stated:g} {what} by the contract, and {found:g} by {INFO_FILE}", REMEDY
            )


def check_totals(table: FrameTable, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings where the totals of ``meta/info.json`` are not those of the tables."""
    for name, found in (("total_episodes", len(table.numbers)), ("total_frames", len(table))):
        if info.get(name) != found:
            yield finding(
                "totals",
                WARNING,
                f"{INFO_FILE} has {name} {info.get(name)}, and the tables have {found}",
                "Other programs go by it: correct it, or fetch the dataset again, whole.",
            )


def _fields(contract: Contract) -> tuple[Field, ...]:
    return (*contract.state, *contract.action)
