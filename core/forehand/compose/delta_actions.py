"""Delta actions: chunks of absolute actions relative to the state they start from, and back. In float64.

A policy that is trained on delta actions predicts how to move on from where the robot is; what it answers is absolute
again, in the contract's layout and units, so that nothing outside of the policy depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.compose.delta_fields import DeltaField, Difference, RelativePose, Turn, Unchanged, rotation_form
from forehand.contracts.contract import PROTECTION, Contract, Field
from forehand.contracts.conversion import UNITS
from forehand.errors import ConfigurationError, nearest

STATE, PREVIOUS = "state", "previous"
BASE, END_EFFECTOR = "base", "end_effector"
REFERENCES, FRAMES = (STATE, PREVIOUS), (BASE, END_EFFECTOR)
OPTIONS = ("relative_to", "frame", "rotation", "fields", "absolute")


class DeltaActions:
    """Chunks (…, H, A) of a contract's absolute actions as deltas (…, H, A'), by the state (…, S) at their start.

    Positions, joint angles and all other numbers are subtracted; rotations compose. Grippers (fields whose ``gripper``
    sense is stated) and fields whose ``mode`` is delta already stay as they are.

    relative_to: ``state``: every action of a chunk is relative to the state at its start; ``previous``: each to the one
    before it, and the first to that state. frame: ``base``: positions are subtracted and rotations turn about axes of the
    frame that the contract states; ``end_effector``: poses are seen from what they are relative to, a position together
    with the rotation field behind it (relative trajectories of UMI, Chi et al. 2024). rotation: the form in which turns
    are predicted; None: that of the field. fields: action field → state field it is relative to, where they do not have
    the same name. absolute: further fields that stay as they are.

    Raises :class:`ConfigurationError` naming the field that cannot be relative.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        relative_to: str = STATE,
        frame: str = BASE,
        rotation: str | None = None,
        fields: Mapping[str, str] | None = None,
        absolute: Sequence[str] = (),
    ) -> None:
        _require_choice("relative_to", relative_to, REFERENCES)
        _require_choice("frame", frame, FRAMES)
        names = [field.name for field in contract.action]
        for option, given in (("fields", fields or {}), ("absolute", absolute)):
            if unknown := [name for name in given if name not in names]:
                raise ConfigurationError(f"actions: {option} names no action field. {nearest(unknown[0], names)}")
        self.relative_to = relative_to
        moving = frame == END_EFFECTOR
        changed: list[tuple[Field, DeltaField]] = []
        for field in contract.action:
            if field.gripper is not None or field.mode == "delta" or field.name in absolute:
                changed.append((field, Unchanged(field.size)))
                continue
            state, where = _state_of(field, contract, (fields or {}).get(field.name, field.name))
            changed.append(_relative_field(field, state, where, rotation, moving))
        if not any(field.mode == "delta" for field, _ in changed):
            raise ConfigurationError(
                f"actions: no action field is left to be a delta: of {names}, grippers and those that are to stay "
                f"absolute are none. Leave policy.actions out."
            )
        self.fields: tuple[Field, ...] = tuple(field for field, _ in changed)
        """What is predicted: the contract's fields as deltas, without ranges."""
        self._parts = list(_joined(contract.action, changed, moving))
        settings = (relative_to, frame, *(f"{f.name}:{f.rotation or f.size}" for f in self.fields if f.mode == "delta"))
        self.name = f"delta({', '.join(settings)})"
        """The transformation in words, by which statistics of its results are kept."""

    def to_delta(self, actions: NDArray[Any], state: NDArray[Any]) -> NDArray[np.float64]:
        """Absolute actions (…, H, A) from a state (…, S) → what is predicted, (…, H, A')."""
        actions = np.asarray(actions, np.float64)
        first = self._first_reference(state)[..., None, :]
        before = (
            actions[..., :-1, :] if self.relative_to == PREVIOUS else np.repeat(first, actions.shape[-2] - 1, axis=-2)
        )
        reference = np.concatenate([first, before], axis=-2)
        return np.concatenate([how.relative(actions[..., a], reference[..., a]) for how, a, _ in self._parts], axis=-1)

    def to_absolute(self, deltas: NDArray[Any], state: NDArray[Any]) -> NDArray[np.float64]:
        """The inverse of :meth:`to_delta`; NaN where what was predicted is no rotation."""
        deltas = np.asarray(deltas, np.float64)
        reference, actions = self._first_reference(state), []
        for delta in np.moveaxis(deltas, -2, 0):
            parts = [how.absolute(delta[..., d], reference[..., a]) for how, a, d in self._parts]
            actions.append(np.concatenate(parts, axis=-1))
            reference = actions[-1] if self.relative_to == PREVIOUS else reference
        return np.stack(actions, axis=-2)

    def _first_reference(self, state: NDArray[Any]) -> NDArray[np.float64]:
        """The action (…, A) that would keep the state (…, S)."""
        state = np.asarray(state, np.float64)
        return np.concatenate([how.reference(state) for how, _, _ in self._parts], axis=-1)


def read_actions(config: str | Mapping[str, Any] | None, contract: Contract) -> DeltaActions | None:
    """The delta actions that a policy's option ``actions`` describes; None for ``absolute`` ones, those of the contract.

    config: ``absolute``, ``delta``, or ``{name: delta, …}`` with options of :class:`DeltaActions`.
    """
    options = {"name": config} if isinstance(config, str) else dict(config or {"name": "absolute"})
    name = options.pop("name", None)
    if name not in ("absolute", "delta"):
        raise ConfigurationError(f"actions: there are no {name!r} actions. {nearest(str(name), ('absolute', 'delta'))}")
    known = OPTIONS if name == "delta" else ()
    if unknown := [option for option in options if option not in known]:
        raise ConfigurationError(f"actions: {name} has no option {unknown[0]!r}. {nearest(unknown[0], known)}")
    return DeltaActions(contract, **options) if name == "delta" else None


def _state_of(field: Field, contract: Contract, name: str) -> tuple[Field, slice]:
    """The state field that an action field is relative to, and where it is in the state."""
    first = 0
    for state in contract.state:
        if state.name == name:
            if state.frame is not None and field.frame is not None and state.frame != field.frame:
                raise ConfigurationError(
                    f"actions: {field.name!r} is stated in the frame {field.frame}, and {name!r} of the state in "
                    f"{state.frame}. {_remedy(field)}"
                )
            return state, slice(first, first + state.size)
        first += state.size
    raise ConfigurationError(
        f"actions: the state has no field {name!r} that the action {field.name!r} could be relative to; it has "
        f"{[f.name for f in contract.state]}. {_remedy(field)}"
    )


def _relative_field(
    field: Field, state: Field, where: slice, rotation: str | None, moving: bool
) -> tuple[Field, DeltaField]:
    """A field as it is predicted, and how it becomes that."""
    changed: dict[str, Any] = {"mode": "delta", "frame": None if moving else field.frame}
    changed |= dict.fromkeys(("low", "high", *PROTECTION))
    if field.rotation is None and state.rotation is None:
        if field.size != state.size:
            raise ConfigurationError(
                f"actions: {field.name!r} has {field.size} numbers, and {state.name!r} of the state {state.size}. "
                f"{_remedy(field)}"
            )
        return replace(field, **changed), Difference(where, _scale(field, state))
    action = rotation_form(field.rotation, field.unit, f"actions: the action {field.name!r}")
    measured = rotation_form(state.rotation, state.unit, f"actions: {state.name!r} of the state")
    delta = action if rotation is None else rotation_form(rotation, None, f"actions: rotation of {field.name!r}")
    for form, its in ((action, field), (measured, state)):
        if form.size != its.size:
            raise ConfigurationError(f"actions: {its.name!r} has {its.size} numbers, and {form.name} has {form.size}.")
    unit = field.unit if delta == action else "rad" if delta.size == 3 else "1"
    predicted = replace(field, **changed, rotation=delta.name, size=delta.size, unit=unit)
    return predicted, Turn(where, measured, action, delta, moving)


def _scale(field: Field, state: Field) -> float:
    """What one unit of the state is in the action's."""
    if field.unit == state.unit or field.unit is None or state.unit is None:
        return 1.0
    ours, theirs = UNITS.get(field.unit), UNITS.get(state.unit)
    if ours is None or theirs is None or ours[0] != theirs[0]:
        units = f"{field.name!r} is in {field.unit}, and {state.name!r} of the state in {state.unit}"
        raise ConfigurationError(f"actions: {units}. {_remedy(field)}")
    return theirs[1] / ours[1]


def _joined(
    fields: Sequence[Field], changed: Sequence[tuple[Field, DeltaField]], moving: bool
) -> Iterator[tuple[DeltaField, slice, slice]]:
    """How the fields become deltas, and where in the action and in what is predicted; poses in one where they move."""
    starts = [0, *np.cumsum([f.size for f in fields]).tolist()]
    ends = [0, *np.cumsum([f.size for f, _ in changed]).tolist()]
    places = [(slice(*a), slice(*d)) for a, d in zip(pairwise(starts), pairwise(ends), strict=True)]
    waiting: tuple[Difference, slice, slice] | None = None
    for (field, how), (action, delta) in zip(changed, places, strict=True):
        if waiting is not None:
            position, a, d = waiting
            if not isinstance(how, Turn):
                raise ConfigurationError(
                    f"actions: in the frame of the end effector, a position is followed by its rotation, but "
                    f"{field.name!r} is none. Use frame={BASE}."
                )
            yield RelativePose(position, how), slice(a.start, action.stop), slice(d.start, delta.stop)
            waiting = None
        elif moving and isinstance(how, Difference) and field.size == 3 and field.unit not in ("rad", "deg"):
            waiting = (how, action, delta)
        else:
            yield how, action, delta
    if waiting is not None:
        raise ConfigurationError(
            f"actions: in the frame of the end effector, a position is followed by its rotation, and "
            f"{fields[-1].name!r} is the last field. Use frame={BASE}."
        )


def _remedy(field: Field) -> str:
    return (
        f"Name the one that it is relative to, policy.actions.fields={{{field.name}: …}}, or let it stay as it is, "
        f"policy.actions.absolute=[{field.name}]."
    )


def _require_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigurationError(f"actions: {option} is not {value!r}. {nearest(str(value), choices)}")
