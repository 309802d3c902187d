"""Option types: whether the values of options are of the types that a signature states."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_SCALARS: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda v: isinstance(v, bool)),
    int: ("a whole number", lambda v: isinstance(v, Integral) and not isinstance(v, bool)),
    float: ("a number", lambda v: isinstance(v, Real) and not isinstance(v, bool)),
    str: ("text", lambda v: isinstance(v, str)),
    type(None): ("null", lambda v: v is None),
}


def wrong_option(factory: Callable[..., Any], options: Mapping[str, Any]) -> str | None:
    """A sentence about the first of ``options`` whose type is not what the signature of ``factory`` states; else None.

    Looked into are bool, int, float, str, None, ``Literal``, unions, mappings and sequences, and what these hold; a value
    of any other type is the factory's own to check. Where a mapping stands for the options of an object, as in
    ``Mapping | Module``, such an object is right, too. The default of an option is always right.
    """
    hints = _hints(factory)
    for name, value in options.items():
        if name in hints and value is not hints[name][1] and (found := _mismatch(name, value, hints[name][0])):
            return f"{found}."
    return None


def _hints(factory: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Annotation and default of each parameter; {} where annotations cannot be evaluated."""
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        hints, parameters = get_type_hints(function), inspect.signature(factory).parameters
    except (AttributeError, NameError, TypeError, ValueError):  # some built-in callables; imports for type checkers only
        return {}
    named = (p for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
    return {p.name: (hints[p.name], p.default) for p in named if p.name in hints}


def _mismatch(where: str, value: Any, hint: Any) -> str | None:
    if type(hint).__name__ == "TypeAliasType":
        hint = hint.__value__
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        objects = _objects(parts)
        if isinstance(value, objects):
            return None
        found = [_mismatch(where, value, part) for part in parts if part not in objects]
        if None in found:
            return None
        inside = [f for f in found if f and not f.startswith(f"{where} ")]  # a part fits, but for what it holds
        return inside[0] if inside else f"{where} must be {_words(hint)}, not {value!r}"
    if kind is Literal:
        return None if value in parts else f"{where} must be {_words(hint)}, not {value!r}"
    if kind in _SCALARS:
        return None if _SCALARS[kind][1](value) else f"{where} must be {_words(hint)}, not {value!r}"
    if not inspect.isclass(kind):
        return None
    if issubclass(kind, Mapping):
        if not isinstance(value, Mapping):
            return f"{where} must be {_words(hint)}, not {value!r}"
        return _first(_mismatch(f"{where}.{key}", v, parts[1]) for key, v in value.items()) if len(parts) == 2 else None
    if issubclass(kind, Sequence) and not issubclass(kind, bytes):
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            return f"{where} must be {_words(hint)}, not {value!r}"
        element = parts[0] if parts and parts[1:] in ((), (...,)) else Any
        return _first(_mismatch(f"{where}[{i}]", v, element) for i, v in enumerate(value)) if element is not Any else None
    return None


def _objects(parts: Iterable[Any]) -> tuple[type, ...]:
    """The classes of a union beside a mapping, which stands for the options of such an object."""
    kinds = [get_origin(part) or part for part in parts]
    if not any(inspect.isclass(kind) and issubclass(kind, Mapping) for kind in kinds):
        return ()
    return tuple(
        kind
        for kind in kinds
        if inspect.isclass(kind) and kind not in _SCALARS and not issubclass(kind, Mapping | Sequence)
    )


def _first(found: Iterable[str | None]) -> str | None:
    return next(filter(None, found), None)


def _words(hint: Any) -> str:
    """What a type is called in a message."""
    if type(hint).__name__ == "TypeAliasType":
        hint = hint.__value__
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        objects = _objects(parts)
        return " or ".join(dict.fromkeys(_words(part) for part in parts if part not in objects))
    if kind is Literal:
        return " or ".join(map(repr, parts))
    if kind in _SCALARS:
        return _SCALARS[kind][0]
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "a mapping"
    if inspect.isclass(kind) and issubclass(kind, Sequence):
        return "a list"
    return str(getattr(kind, "__name__", kind))
