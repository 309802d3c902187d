"""Places of files in a dataset: chunk and number, and the paths that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Place = tuple[int, int]
"""Chunk and number of a file."""


def free_place(folder: Path, info: Mapping[str, Any]) -> Place:
    """Chunk and number of the first file that ``folder`` does not have yet."""
    taken = [
        (int(file.parent.name.removeprefix("chunk-")), int(file.stem.removeprefix("file-")))
        for file in folder.glob("chunk-*/file-*")
    ]
    return following(max(taken), info) if taken else (0, 0)


def following(place: Place, info: Mapping[str, Any]) -> Place:
    """The place after another one, in a dataset with this ``info.json``."""
    chunk, file = place
    return (chunk, file + 1) if file + 1 < info["chunks_size"] else (chunk + 1, 0)


def filled(template: str, place: Place, **names: str) -> str:
    """The path of a file at ``place`` by a template of ``info.json``."""
    return template.format(chunk_index=place[0], file_index=place[1], **names)
