"""Conversion of nested values to the types of JSON and of messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_plain(value: Any) -> Any:
    """``value`` with arrays and tensors as lists, keys as strings, and a string for what has no other form."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
