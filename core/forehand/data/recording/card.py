"""Dataset card: contents, provenance and loading instructions, as shown on the hub."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from forehand.contracts.contract import Contract
from forehand.data.contract_tables import contract_sections
from forehand.data.features import annotation_names, read_contract, read_info
from forehand.utils.markdown import markdown_table

CARD = "README.md"
MARK = "<!-- written by forehand; edit freely: without this line it is left alone -->"


def write_card(root: Path, command: str, licence: str | None = None, origin: Sequence[str] | None = None) -> None:
    """Write the card of the dataset at ``root``, unless its owner wrote another one.

    command: what it was recorded with; licence: as the hub names it, such as ``apache-2.0``; None leaves it to the owner.
    origin: sections about where the dataset comes from, where no expert recorded it.
    """
    path = root / CARD
    if path.exists() and MARK not in path.read_text(encoding="utf-8"):
        return
    path.write_text(dataset_card(root, command, licence, origin), encoding="utf-8")


def dataset_card(root: Path, command: str, licence: str | None = None, origin: Sequence[str] | None = None) -> str:
    """The card in Markdown, with the hub's header in YAML."""
    info, contract = read_info(root), read_contract(root)
    header: dict[str, Any] = {
        **({"license": licence} if licence else {}),
        "task_categories": ["robotics"],
        "tags": ["LeRobot", "forehand"],
        "configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}],
    }
    robot = f"of the robot `{info['robot_type']}`, " if info["robot_type"] else ""
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n{MARK}",
        f"# {root.absolute().name}",
        f"{info['total_episodes']} episodes, {info['total_frames']} frames at {info['fps']} Hz, {info['total_tasks']} "
        f"sentences, {robot}as a LeRobotDataset {info['codebase_version']}."
        + (" Every episode succeeded." if origin is None else ""),
        *(_recorded(command) if origin is None else origin),
        *contract_sections(contract),
        *_counts(root, annotation_names(info["features"])),
        _loading(root, contract),
    ]
    return "\n\n".join(parts) + "\n"


def _recorded(command: str) -> list[str]:
    return [
        f"## How it was recorded\n\n```bash\n{command}\n```\n\nThe same command gives the same frames, with any number "
        f"of workers."
    ]


def _counts(root: Path, names: Sequence[str]) -> list[str]:
    """How many frames and episodes there are of each word, for every column of words."""
    files = sorted((root / "data").rglob("*.parquet"))
    parts = []
    for name in names:
        frames: Counter[str] = Counter()
        episodes: Counter[str] = Counter()
        for file in files:
            table = pq.read_table(file, columns=[f"annotation.{name}", "episode_index"])
            words = table[f"annotation.{name}"].to_pylist()
            frames.update(words)
            episodes.update(
                word for word, _ in dict.fromkeys(zip(words, table["episode_index"].to_pylist(), strict=True))
            )
        rows = [[f"`{word}`", str(episodes[word]), str(frames[word])] for word in sorted(frames)]
        parts.append(f"## By {name} (`annotation.{name}`)\n\n" + markdown_table([name, "episodes", "frames"], rows))
    return parts


def training_command(dataset: str, contract: Contract) -> str:
    """The command that trains the default policy on a dataset of ``contract``, with what the policy does not assume."""
    options = [f"dataset={_quoted(dataset)}"]
    cameras = [camera.name for camera in contract.cameras]
    if set(cameras) != {"static", "wrist"}:
        options.append(f"policy.encoders.cameras.cameras=[{','.join(map(_quoted, cameras))}]")
    if all(field.gripper for field in contract.state):  # the state's encoder and the action head need an arm
        options.append("policy.encoders.state=null")
    if all(field.gripper for field in contract.action):
        options.append("policy.action_head=null")
    elif any(field.low is None or field.high is None for field in contract.action):
        options.append("policy.normalization.action=min_max")
    return shlex.join(["forehand", "train", *options])


def _quoted(word: str) -> str:
    """A word as Hydra reads it literally."""
    plain = re.fullmatch(r"[A-Za-z_/][\w./-]*", word) and word.lower() not in ("null", "true", "false", "nan", "inf")
    return word if plain else '"' + word.replace('"', r"\"") + '"'


def _loading(root: Path, contract: Contract) -> str:
    name = root.absolute().name
    return (
        f"## Loading it\n\n```python\nfrom lerobot.datasets.lerobot_dataset import LeRobotDataset\n\n"
        f'dataset = LeRobotDataset("you/{name}", root="{name}")\n```\n\n'
        f"```bash\n{training_command(name, contract)}\n```"
    )
