"""Instruction sentences of the 34 tasks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import yaml

from forehand.errors import ConfigurationError
from forehand_calvin.tasks import TASKS

SPLITS = ("validation", "training")
"""``validation``: one sentence a task, with which the benchmark judges; ``training``: eleven or so, those of its data."""


@functools.cache
def sentences(source: str) -> Mapping[str, Sequence[str]]:
    """Task → its sentences; ``source``: one of :data:`SPLITS`, or a YAML file of that form, with some tasks or all."""
    if source in SPLITS:
        text = resources.files("forehand_calvin.data").joinpath(f"{source}_sentences.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(source).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            known = " or ".join(SPLITS)
            raise ConfigurationError(
                f"sentences={source}: {known}, or a YAML file (task: [sentence, …]); {error}"
            ) from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"sentences={source} is no YAML: {error}") from error
    if not isinstance(found, dict) or not all(_is_list_of_sentences(value) for value in found.values()):
        raise ConfigurationError(f"sentences={source}: each entry is a task and the list of its sentences.")
    if unknown := [task for task in found if task not in TASKS]:
        raise ConfigurationError(f"sentences={source}: CALVIN has no task {unknown[0]!r}.")
    return {task: [sentence.strip() for sentence in found[task]] for task in found}


def _is_list_of_sentences(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(sentence, str) and sentence for sentence in value)
