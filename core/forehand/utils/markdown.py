"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(names: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A table with the columns ``names`` and ``rows`` of as many cells.

    align: a letter for each of the first columns, "l" for left or "r" for right, as numbers stand; left for the rest.
    """
    rules = ["---:" if letter == "r" else "---" for letter in align.ljust(len(names), "l")]
    lines = [names, rules, *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
