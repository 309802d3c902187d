"""Reproduction of a training: its command, and what has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forehand.errors import ForehandError, first_line
from forehand.learning.checkpoint import find_checkpoint, fingerprints
from forehand.plugins import registry
from forehand.utils.differences import flat
from forehand.utils.provenance import initial_weights, provenance

PROGRAM = "forehand"
OWN_OUTPUT = ("output", "resume")
"""Options of a training that another run of it has for itself."""

Change = tuple[str, str, str]
"""What has changed, and what it was then and is now, in words."""


def command_words(made: Mapping[str, Any]) -> list[str]:
    """The words of the command in a provenance, as a shell takes them; [] where none is recorded."""
    first, *rest = [str(word) for word in made.get("command") or [""]]
    if first == PROGRAM or first.startswith(f"{PROGRAM} "):
        return [*first.split(), *rest]
    return ["python", first, *rest] if first else []


def repeated(words: Sequence[str], *more: str) -> list[str]:
    """The command ``words`` without the options that say where its results go, and with ``more``."""
    return [*(word for word in words if word.partition("=")[0].lstrip("+") not in OWN_OUTPUT), *more]


def changes_since(made: Mapping[str, Any], dataset: Any = None) -> list[Change]:
    """What differs now from what a provenance records: commit, Python, versions, plugins, data, and initial weights.

    dataset: where the data lies now, as on the command line; None: where it lay then. It is opened for its fingerprint;
    what was chosen of a single dataset is chosen of a path, too.
    """
    now = provenance(plugins=registry().versions())
    found = []
    for recorded in ("commit", "python", "versions", "plugins"):
        then, here = flat({recorded: made.get(recorded)}), flat({recorded: now.get(recorded)})
        found += [
            (key, str(then.get(key, "not there")), str(here.get(key, "not there")))
            for key in dict.fromkeys([*then, *here])
            if then.get(key) != here.get(key)
        ]
    return [*found, *_data(made, dataset), *_initial(made)]


def _data(made: Mapping[str, Any], dataset: Any) -> Iterator[Change]:
    sources: Any = made.get("dataset")
    if dataset is not None:
        one = isinstance(sources, Mapping) and "path" in sources and isinstance(dataset, str)
        sources = {**sources, "path": dataset} if one else dataset
    if sources is None:
        return
    from forehand.data.embodiments import open_datasets  # needs torch, which the command alone does not

    then = str(made.get("fingerprint"))
    try:
        now = open_datasets(sources).fingerprint
    except ForehandError as error:
        now = f"cannot be read: {first_line(error)}"
    if then != now:
        yield "dataset fingerprint", then, now


def _initial(made: Mapping[str, Any]) -> Iterator[Change]:
    for init in initial_weights(made):
        try:
            now = list(fingerprints(find_checkpoint(init["checkpoint"])).values())
        except (ForehandError, OSError) as error:
            now = [f"cannot be read: {first_line(error)}"]
        if init["fingerprint"] not in now:
            yield "initial weights", init["fingerprint"], " or ".join(now)
