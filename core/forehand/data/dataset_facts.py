"""Facts about the data of a training, for records: names, content, size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from forehand.data.dataset import Dataset
from forehand.data.embodiments import EmbodimentDatasets
from forehand.data.labels import origin_facts
from forehand.utils.hub_cache import cached_repository


def dataset_facts(data: Dataset | EmbodimentDatasets) -> list[dict[str, Any]]:
    """Of each source ``name``, ``fingerprint``, ``episodes`` and ``frames`` that are used, as plain values.

    ``recorded_actions`` and ``labelled_actions`` are there where some were labelled, ``repository`` and ``revision`` for
    sources in the hub's cache, ``embodiment`` where there are several, and ``weight`` where sources have one.
    """
    found = []
    parts = data.datasets if isinstance(data, EmbodimentDatasets) else {None: data}
    for embodiment, part in parts.items():
        for number, source in enumerate(part.sources):
            facts: dict[str, Any] = {
                **_name(source.root),
                "fingerprint": source.fingerprint,
                "episodes": int(np.unique(source.episodes.episode).size),
                "frames": len(source.episodes),
                **origin_facts(source.episodes),
            }
            if part.weights is not None:
                facts["weight"] = part.weights[number]
            found.append(facts if embodiment is None else {"embodiment": embodiment, **facts})
    return found


def _name(root: Path) -> dict[str, str]:
    if found := cached_repository(root.absolute(), "datasets"):
        repository, revision = found
        return {"name": repository, "repository": repository, "revision": revision}
    return {"name": root.absolute().name}
