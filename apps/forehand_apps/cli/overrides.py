"""Options of a command as they are typed: a nested mapping, an override for each of its values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = re.compile(r"[\w./:+-]+")


def as_overrides(options: Mapping[str, Any]) -> list[str]:
    """``{"robot": "arm", "policy": {"device": "cpu"}}`` as ``["robot=arm", "policy.device=cpu"]``."""
    return [f"{key}={_typed(value)}" for key, value in _flat(options)]


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _typed(value: Any) -> str:
    """``value`` in Hydra's grammar of overrides."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    return "{}" if isinstance(value, Mapping) else json.dumps(value)
