"""Policies of example parts."""

import pytest


@pytest.fixture(autouse=True)
def _example_parts(example_parts: None) -> None:
    """Every policy here is composed of example parts."""
