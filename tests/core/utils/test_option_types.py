"""Options of other types than a signature states are named, with what they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from forehand.errors import ConfigurationError
from forehand.registry import Registry
from forehand.utils.option_types import wrong_option

if TYPE_CHECKING:
    from nowhere import Nothing

Table = Mapping[str, Mapping[str, str | int | None] | None]


class Part:
    """What options of each kind a part may have."""

    def __init__(
        self,
        *,
        size: int = 1,
        rate: float = 0.1,
        fast: bool = False,
        mode: Literal["a", "b"] = "a",
        label: str | None = None,
        cameras: Sequence[str] = (),
        pair: tuple[int, int] = (1, 1),
        table: Table | None = None,
        film: bool | Mapping[str, Any] = False,
        anything: Any = None,
        unset: int = None,  # type: ignore[assignment]  # noqa: RUF013
        **more: Any,
    ) -> None:
        self.size = size


RIGHT: tuple[dict[str, Any], ...] = (
    {"size": 3, "rate": 3, "fast": True, "label": None, "cameras": ["a"], "pair": [1, 2]},
    {"size": np.int64(3), "rate": np.float32(0.5), "label": "x", "cameras": ("a", "b"), "mode": "b"},
    {"table": {"action": {"state": "past", "images": 2, "text": None}, "foresight": None}},
    {"film": {"name": 3}, "anything": object(), "more": 7},
    {"table": None, "film": True, "unset": None},
)

WRONG: tuple[tuple[str, Any, str], ...] = (
    ("size", "3", "size must be a whole number, not '3'."),
    ("size", 2.0, "size must be a whole number, not 2.0."),
    ("size", True, "size must be a whole number, not True."),
    ("size", None, "size must be a whole number, not None."),
    ("rate", "fast", "rate must be a number, not 'fast'."),
    ("fast", 1, "fast must be true or false, not 1."),
    ("mode", "c", "mode must be 'a' or 'b', not 'c'."),
    ("label", 3, "label must be text or null, not 3."),
    ("cameras", "static", "cameras must be a list, not 'static'."),
    ("cameras", ["a", 3], "cameras[1] must be text, not 3."),
    ("pair", {"a": 1}, "pair must be a list, not {'a': 1}."),
    ("table", [], "table must be a mapping or null, not []."),
    ("table", {"action": "past"}, "table.action must be a mapping or null, not 'past'."),
    ("table", {"action": {"state": [1]}}, "table.action.state must be text or a whole number or null, not [1]."),
    ("film", "yes", "film must be true or false or a mapping, not 'yes'."),
)


@pytest.mark.parametrize("options", RIGHT)
def test_what_the_signature_states_passes(options: dict[str, Any]) -> None:
    assert wrong_option(Part, options) is None


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG)
def test_any_other_type_is_named(name: str, value: Any, sentence: str) -> None:
    assert wrong_option(Part, {"rate": 1.0, name: value}) == sentence


def test_the_registry_refuses_it_with_the_part_s_name() -> None:
    registry = Registry()
    registry.add("robot", "arm", Part, "an arm")
    with pytest.raises(ConfigurationError, match=r"^robot 'arm': size must be a whole number, not 'large'\.$"):
        registry.create("robot", "arm", size="large")
    assert registry.create("robot", "arm", size=2).size == 2


def test_what_cannot_be_looked_at_is_the_factory_s_own_to_check() -> None:
    def unknown(size: Nothing, count: int) -> None: ...

    assert wrong_option(unknown, {"size": 1, "count": "1"}) is None
    assert wrong_option(dict, {"size": 1}) is None
    assert wrong_option(lambda size: size, {"size": 1}) is None
