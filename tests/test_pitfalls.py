"""The page of pitfalls names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", (ROOT / "docs/pitfalls.md").read_text(encoding="utf-8"))))


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_exists(name):
    path, _, test = name.partition("::")
    assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8") if test else (ROOT / path).exists()


def test_every_row_names_one():
    lines = (ROOT / "docs/pitfalls.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    conventions = [row for row in rows if not row.startswith("| convention")]
    assert len(conventions) >= 24
    assert all("`tests/" in row for row in conventions)
