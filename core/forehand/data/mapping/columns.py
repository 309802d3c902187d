"""Column selectors: which elements of which column of a dataset, and the contract fields that they become.

A selector is a column, or some of its elements, by number or by name ::

    observation.state.joint_position        the whole column
    observation.state[0:6]                  its first six elements
    observation.state[6]                    one element
    observation.state[gripper]              the element of that name, or the contract's field
    action[x,y,z]                           several, in this order
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from forehand.contracts.contract import Field
from forehand.data.source import Column
from forehand.errors import ConfigurationError, nearest

DETAILS = tuple(f.name for f in fields(Field) if f.name not in ("name", "size"))
"""What may be stated about a field beside its name."""

_SELECTOR = re.compile(r"([^\[\]]+)(?:\[([^\[\]]+)\])?")
_RANGE = re.compile(r"(-?\d*):(-?\d*)")
_NUMBER = re.compile(r"-?\d+")
_PREFIXES = ("observation.", "state.", "action.")


@dataclass(frozen=True)
class Selected:
    """Elements of one column, by number, and the fields that they become, in order."""

    column: str
    elements: tuple[int, ...]
    fields: tuple[Field, ...]


def select_columns(given: Any, columns: Mapping[str, Column], where: str) -> tuple[Selected, ...]:
    """What is selected from ``columns`` by ``given``, a list of selectors or a mapping of the fields' names to them.

    In place of a selector there may be ``{column: <selector>}`` with a ``name`` and details (:data:`DETAILS`) of the
    field that its elements become. where: the option, for errors. Raises :class:`ConfigurationError`.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        entries = [(f"{where}.{name}", {"name": name, **_entry(f"{where}.{name}", one)}) for name, one in given.items()]
    elif isinstance(given, Sequence):
        entries = [(f"{where}[{number}]", _entry(f"{where}[{number}]", one)) for number, one in enumerate(given)]
    else:
        raise ConfigurationError(f"{where} is a list of columns or a mapping of fields to columns, not {given!r}.")
    found = tuple(_select(entry, columns, here) for here, entry in entries)
    names = [field.name for selected in found for field in selected.fields]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(
            f"{where}: two fields are called {twice!r}. Give one of them another name: {{column: …, name: …}}."
        )
    return found


def _entry(where: str, given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        return {"column": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("column"), str):
        raise ConfigurationError(f"{where} is a column, or {{column: …}} with a name and details, not {given!r}.")
    if unknown := [key for key in given if key not in ("column", "name", *DETAILS)]:
        raise ConfigurationError(f"{where}: there is no option {unknown[0]!r}. {nearest(unknown[0], ('name', *DETAILS))}")
    return dict(given)


def _select(entry: Mapping[str, Any], columns: Mapping[str, Column], where: str) -> Selected:
    name, elements = parse_selector(entry["column"], columns, where)
    column = columns[name]
    inherited = _inherited_fields(entry["column"], name, column, elements)
    stated = {key: value for key, value in entry.items() if key != "column" and value is not None}
    if not stated:
        return Selected(name, elements, inherited)
    base = inherited[0] if len(inherited) == 1 else Field(_label(entry["column"]), len(elements))
    try:
        return Selected(name, elements, (replace(base, **{k: _detail(k, v, base.size) for k, v in stated.items()}),))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}: {error}.") from error


def parse_selector(text: str, columns: Mapping[str, Column], where: str) -> tuple[str, tuple[int, ...]]:
    """The column that a selector names, of numbers, and the elements; raises :class:`ConfigurationError`."""
    found = _SELECTOR.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"{where}: {text!r} is no column, nor elements of one such as observation.state[0:6].")
    name = found[1]
    numbers = [key for key, column in columns.items() if column.size]
    if name not in numbers:
        kind = "holds words" if name in columns else "does not exist"
        raise ConfigurationError(f"{where}: the column {name!r} {kind}. {nearest(name, numbers)}")
    column = columns[name]
    if found[2] is None:
        return name, tuple(range(column.size))
    chosen = [number for token in found[2].split(",") for number in _elements(token.strip(), name, column, where)]
    return name, tuple(chosen)


def _elements(token: str, name: str, column: Column, where: str) -> Sequence[int]:
    size = column.size
    if part := _RANGE.fullmatch(token):
        bounds = [int(bound) if bound else None for bound in part.groups()]
        chosen = range(size)[slice(*bounds)]
        if chosen and all(bound is None or -size <= bound <= size for bound in bounds):
            return chosen
    elif _NUMBER.fullmatch(token):
        if -size <= int(token) < size:
            return [int(token) % size]
    elif token in column.names:
        return [column.names.index(token)]
    first = 0
    for field in column.fields:
        if field.name == token:
            return range(first, first + field.size)
        first += field.size
    known = [*column.names, *(field.name for field in column.fields if field.size > 1)]
    hint = nearest(token, known) if known and not re.match(r"-?\d|:", token) else ""
    raise ConfigurationError(f"{where}: {name!r} has {size} elements, and no {token!r} among them. {hint}".rstrip())


def _inherited_fields(text: str, name: str, column: Column, elements: tuple[int, ...]) -> tuple[Field, ...]:
    """The contract's fields that ``elements`` are; parts of fields where they are only that."""
    owners = [(number, offset) for number, field in enumerate(column.fields) for offset in range(field.size)]
    if not owners:
        only = column.names[elements[0]] if len(elements) == 1 < column.size and column.names else _label(text)
        return (Field(only, len(elements)),)
    found: list[Field] = []
    rest = [owners[element] for element in elements]
    while rest:
        number, _ = rest[0]
        run = 1
        while run < len(rest) and rest[run][0] == number and rest[run][1] > rest[run - 1][1]:
            run += 1
        offsets, rest = [offset for _, offset in rest[:run]], rest[run:]
        found.append(_part(column, column.fields[number], offsets, elements, text))
    return tuple(found)


def _part(column: Column, field: Field, offsets: list[int], elements: tuple[int, ...], text: str) -> Field:
    if offsets == list(range(field.size)):
        return field
    alone = len(elements) == 1 and column.names
    bounds: dict[str, Any] = {
        key: tuple(value[offset] for offset in offsets)
        for key in DETAILS
        if isinstance(value := getattr(field, key), tuple)
    }
    name = column.names[elements[0]] if alone else f"{field.name}[{','.join(map(str, offsets))}]"
    if len(column.fields) == 1 and not alone:
        name = _label(text)
    return replace(field, name=name, size=len(offsets), rotation=None, **bounds)


def _label(text: str) -> str:
    """What a field is called without a name of its own: the selector, without what all states and actions begin with."""
    label = text.strip()
    for prefix in _PREFIXES:
        label = label.removeprefix(prefix)
    return label


def _detail(key: str, value: Any, size: int) -> Any:
    """A detail as a field takes it: bounds by element, from a list or one number for all."""
    if key in ("name", "unit", "frame", "rotation", "mode", "gripper"):
        if not isinstance(value, str):
            raise TypeError(f"{key} is a word, not {value!r}")
        return value
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * size
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise TypeError(f"{key} is a number, or one for each element, not {value!r}")
    return tuple(float(number) for number in numbers)
