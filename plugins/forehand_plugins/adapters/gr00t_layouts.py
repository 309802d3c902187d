"""Observation and action layouts of the two generations of GR00T clients (N1.5, N1.6 and later)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.errors import ContractMismatch
from forehand.wire.adapters.key_map import KeyMap

Actions = Mapping[str, NDArray[np.float32]]
"""Their key → (B, H, size)."""


@dataclass(frozen=True)
class Rows:
    """A batch of observations, one map for each robot: ``video.<camera>``, ``state.<key>`` and the sentence.

    Only the newest of several frames is kept, since our sessions have a memory of their own.
    """

    rows: list[dict[str, Any]]
    flat: bool
    """Whether it came in the dialect of N1.5."""
    batched: bool

    def answer(self, actions: Actions) -> Any:
        """The actions as this dialect has them."""
        if not self.flat:
            return [dict(actions), {}]
        return {f"action.{key}": part if self.batched else part[0] for key, part in actions.items()}


def rows_of(data: Any, instruction: str) -> Rows:
    """What ``get_action`` was asked with; the one sentence goes under ``instruction``, whatever its key there.

    Raises :class:`ContractMismatch` for what is laid out in neither way.
    """
    if not isinstance(data, dict):
        raise ContractMismatch(f"The data of get_action must be a map, not {type(data).__name__}.")
    flat = "observation" not in data
    arrays, sentences = _flat(data) if flat else _nested(data["observation"])
    if len(sentences) != 1:
        raise ContractMismatch(f"The observation must have one sentence, and has {sorted(sentences) or 'none'}.")
    if not arrays:
        raise ContractMismatch(f"The observation has neither pictures nor states; it has {sorted(map(str, data))}.")
    shapes = {key: np.shape(value) for key, value in arrays.items()}
    batched = all(len(shape) == (5 if key.startswith("video.") else 3) for key, shape in shapes.items())
    if not batched:
        if not flat or any(len(s) != (4 if key.startswith("video.") else 2) for key, s in shapes.items()):
            raise ContractMismatch(
                f"Pictures must be (B, T, H, W, 3) and states (B, T, D)"
                f"{', or all without B' if flat else ''}; these are {shapes}."
            )
        arrays = {key: np.asarray(value)[None] for key, value in arrays.items()}
    counts = {key: len(value) for key, value in arrays.items()}
    if len(set(counts.values())) != 1 or any(np.shape(value)[1] == 0 for value in arrays.values()):
        raise ContractMismatch(f"All of an observation must have as many rows, and at least one frame: {shapes}.")
    count = next(iter(counts.values()))
    (said,) = sentences.values()
    said = list(said) if isinstance(said, (list, tuple, np.ndarray)) else [said]
    if len(said) not in (1, count):
        raise ContractMismatch(f"There are {len(said)} sentences for {count} rows.")
    rows = [
        {**{key: value[row][-1] for key, value in arrays.items()}, instruction: said[row if len(said) > 1 else 0]}
        for row in range(count)
    ]
    return Rows(rows, flat, batched)


def modalities(keys: KeyMap, contract: Contract) -> dict[str, Any]:
    """The answer to ``get_modality_config``: their names of everything, and that one frame is enough."""
    names = {
        "video": [key.removeprefix("video.") for key in keys.cameras.values()],
        "state": [key.removeprefix("state.") for key in keys.state],
        "action": list(keys.split(np.zeros((1, contract.action_size), np.float32), contract)),
        "language": [keys.instruction],
    }
    return {
        kind: {"__ModalityConfig_class__": True, "as_json": {"delta_indices": [0], "modality_keys": its}}
        for kind, its in names.items()
    }


def _flat(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = {key: value for key, value in data.items() if key.startswith(("video.", "state."))}
    return arrays, {key: value for key, value in data.items() if key.startswith("annotation.")}


def _nested(observation: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    kinds = [observation.get(kind) if isinstance(observation, dict) else None for kind in ("video", "state", "language")]
    video, state, language = (kind if isinstance(kind, dict) else None for kind in kinds)
    if video is None or state is None or language is None:
        raise ContractMismatch("An observation must be a map of the maps video, state and language.")
    arrays = {f"video.{key}": value for key, value in video.items()}
    return arrays | {f"state.{key}": value for key, value in state.items()}, language
