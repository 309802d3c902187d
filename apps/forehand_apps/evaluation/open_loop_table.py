"""Open-loop table: errors by field, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from forehand.evaluation.open_loop.record import NO_SUCCESS_RATE


def print_open_loop(found: Mapping[str, Any]) -> None:
    """Print the errors by field, and what they are not."""
    table = Table("field", "mean error", "unit", "R²", "")
    for one in found["fields"]:
        r2 = "–" if one["r2"] is None else f"{one['r2']:.3f}"
        table.add_row(one["name"], f"{one['error']:.4g}", one["unit"], r2, one["problem"])
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(table)
    for note in found.get("notes", []):
        console.print(note, markup=False)
    console.print(NO_SUCCESS_RATE, markup=False)
