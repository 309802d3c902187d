"""Comparison of nested values, by dotted names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SHOWN = 60
"""Characters of a value that are shown."""


def flat(nested: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """The values in ``nested`` by dotted name."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{under}{key}.") if isinstance(value, Mapping) else {f"{under}{key}": value}
    return found


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each value that differs: its name, and both."""
    keys = dict.fromkeys([*then, *now])
    return [f"{k}: {_shown(then, k)} and {_shown(now, k)}" for k in keys if then.get(k, ...) != now.get(k, ...)]


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "not there"
    text = json.dumps(values[key], ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
