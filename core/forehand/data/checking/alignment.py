"""Checks of actions against states: which state an action leads to, absolute or delta, and the sense of grippers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from forehand.data.checking.findings import NOTE, WARNING, Finding, finding
from forehand.data.checking.table import ACTION, STATE, Element, FrameTable

SHIFTS = range(-3, 9)
"""Frames from an action to a state that are tried; with 1, an action moves the state of its own frame to the next one."""

SAME = 0.99
"""Share of equal frames from which on actions count as copies of states."""

SURE = 0.5
"""Correlation from which on a shift, or a sense, is stated."""

CLEARER = (1.5, 0.02)
"""Another shift is the right one where shift 1 leaves more variance unexplained than so many times what it leaves, and
this."""

ABSOLUTE = (0.97, 0.2)
"""Correlation, and distance of the slope from 1, of actions that are positions to be reached."""

FEWEST_FRAMES, MOST_FRAMES = 100, 300_000
"""Frames from which on correlations say something, and how many are compared."""

Pair = tuple[Element, Element]
"""A column of the action, and that of the state which it moves."""


def check_alignment(table: FrameTable) -> Iterator[Finding]:
    """All findings about actions and the states that follow them; of the first :data:`MOST_FRAMES` frames."""
    episodes = max(1, int(np.searchsorted(table.starts, MOST_FRAMES, side="right")) - 1)
    pairs = _pairs(table)
    if pairs:
        yield from _copies(table, pairs, episodes)
    if len(table) < FEWEST_FRAMES:
        return
    if pairs:
        yield from _mode_and_lag(table, pairs, episodes)
    yield from _grippers(table, episodes)


def _pairs(table: FrameTable) -> list[Pair]:
    """The columns of action and state with the same name, of no gripper; of vectors without names, by position."""
    states = {column.name.partition(".")[2]: column for column in table.of(STATE)}
    found = [(column, states[name]) for column in table.of(ACTION) if (name := column.name.partition(".")[2]) in states]
    unnamed = not found and len({c.field.name for c in table.elements}) == 2 and len(table.of(ACTION)) == len(states)
    if unnamed:
        found = list(zip(table.of(ACTION), table.of(STATE), strict=True))
    return [(a, s) for a, s in found if not a.is_gripper and np.ptp(table.values(a)) > 0 and np.ptp(table.values(s)) > 0]


def _shifted(table: FrameTable, episodes: int, shift: int, least: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows t, and t + ``shift`` in the same episode, of the first ``episodes``; both have ``least`` rows before them."""
    starts, ends = table.starts[:episodes], table.starts[1 : episodes + 1]
    rows = np.arange(table.starts[episodes])
    first, last = (np.repeat(bound, ends - starts) for bound in (starts, ends))
    fits = (rows + min(shift - least, -least) >= first) & (rows + shift < last) & (rows - least >= first)
    return rows[fits], rows[fits] + shift


def _copies(table: FrameTable, pairs: Sequence[Pair], episodes: int) -> Iterator[Finding]:
    for shift, words, severity, remedy in (
        (
            0,
            "the state of the same frame",
            WARNING,
            "A policy would learn to stay where it is: take the commands instead.",
        ),
        (1, "the state of the next frame", NOTE, "They are what was reached, and not what was commanded."),
    ):
        before, after = _shifted(table, episodes, shift)
        equal = [np.mean(table.values(a)[before] == table.values(s)[after]) if len(before) else 0 for a, s in pairs]
        if min(equal) >= SAME:
            what = "actions" if len(pairs) == len(table.of(ACTION)) else ", ".join(a.name for a, _ in pairs)
            yield finding(
                "copied_states", severity, f"{what} equal {words} in {100 * min(equal):.0f} % of frames", remedy
            )
            return


def _mode_and_lag(table: FrameTable, pairs: Sequence[Pair], episodes: int) -> Iterator[Finding]:
    levels = [_levels(table, pair, episodes) for pair in pairs]
    straight = [i for i, (action, _) in enumerate(pairs) if not action.is_angle] or range(len(pairs))
    absolute = all(r >= ABSOLUTE[0] and abs(slope - 1) <= ABSOLUTE[1] for r, slope in (levels[i] for i in straight))
    scores = {s: _score(table, [pairs[i] for i in straight], episodes, s, absolute) for s in SHIFTS}
    best = max(scores, key=lambda shift: scores[shift])
    sure = scores[best] >= SURE
    stated = {pairs[i][0].field.mode for i in straight}
    looks = "absolute" if absolute else "delta" if sure else None
    if looks and stated == {None}:
        yield finding(
            "action_mode",
            NOTE,
            f"the contract does not state whether actions are absolute or delta; by the states, they are {looks}",
            "State the mode of each action field in the contract.",
        )
    elif looks == "absolute" and stated == {"delta"}:
        yield finding(
            "action_mode",
            WARNING,
            "actions are delta by the contract, and equal the positions that follow (slope 1)",
            "Correct the mode in the contract: a robot would add these positions to its own.",
        )
    elif looks == "delta" and stated == {"absolute"} and scores[best] > max(abs(r) for r, _ in levels):
        yield finding(
            "action_mode",
            WARNING,
            "actions are absolute by the contract, and follow the changes of the state",
            "Correct the mode in the contract: a robot would drive to these differences as if they were positions.",
        )
    unexplained, usual = (1 - max(scores[shift], 0.0) ** 2 for shift in (best, 1))
    if not sure or best == 1 or usual < CLEARER[0] * unexplained + CLEARER[1]:
        return
    if best < 1:
        yield finding(
            "lag",
            WARNING,
            f"states precede the actions by {1 - best} frames: they correlate by {scores[best]:.2f}, and in the order in "
            f"which an action leads to the next state by {scores[1]:.2f}",
            f"The observation of a frame must be taken before its action: shift the actions by {1 - best} frames.",
        )
    else:
        yield finding(
            "lag",
            NOTE,
            f"states follow the actions with a delay of {best - 1} frames ({1000 * (best - 1) / table.rate:.0f} ms): "
            f"they correlate by {scores[best]:.2f}, and without it by {scores[1]:.2f}",
            "Usual for real arms; if it is large, look at the clocks of the recording.",
        )


def _levels(table: FrameTable, pair: Pair, episodes: int) -> tuple[float, float]:
    """Correlation of an action with the next state, and the slope of the state over the action."""
    before, after = _shifted(table, episodes, 1)
    action, state = table.values(pair[0])[before], table.values(pair[1])[after]
    fine = np.isfinite(action) & np.isfinite(state)
    r = _correlation(action[fine], state[fine])
    return (r, r * float(state[fine].std() / action[fine].std())) if r else (0.0, 0.0)


def _score(table: FrameTable, pairs: Sequence[Pair], episodes: int, shift: int, absolute: bool) -> float:
    """Median correlation of what is commanded with the change of the state that ends ``shift`` frames later."""
    before, after = _shifted(table, episodes, shift, least=1)
    found = []
    for action, state in pairs:
        commands, states = table.values(action), table.values(state)
        commanded = commands[before] - commands[before - 1] if absolute else commands[before]
        moved = states[after] - states[after - 1]
        fine = np.isfinite(commanded) & np.isfinite(moved)
        found.append(_correlation(commanded[fine], moved[fine]))
    return float(np.median(found))


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's; 0 where it is not defined."""
    if len(one) < 10:
        return 0.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else 0.0


def _grippers(table: FrameTable, episodes: int) -> Iterator[Finding]:
    actions = [c for c in table.of(ACTION) if c.is_gripper and np.ptp(table.values(c)) > 0]
    states = [c for c in table.of(STATE) if c.is_gripper and np.ptp(table.values(c)) > 0]
    for action in actions:
        partner = next((s for s in states if s.name.partition(".")[2] == action.name.partition(".")[2]), None)
        partner = partner or (states[0] if len(actions) == 1 and states else None)
        stated = action.field.gripper
        follows = _best_level(table, action, partner, episodes) if partner else 0.0
        by_state = None
        if partner and partner.field.gripper and abs(follows) >= SURE:
            other = {"open": "closed", "closed": "open"}
            by_state = partner.field.gripper if follows > 0 else other.get(partner.field.gripper)
        if stated is None:
            hint = f"; by the state, larger is {by_state}" if by_state else ""
            yield finding(
                "gripper_sense",
                NOTE,
                f"the contract does not state the sense of {action.name}{hint}",
                "State it (gripper: open or closed, whichever a larger number means), or it cannot be compared.",
                action.name,
            )
        elif partner and by_state and by_state != stated:
            yield finding(
                "gripper_sense",
                WARNING,
                f"larger is {stated} for {action.name} and {partner.field.gripper} for {partner.name} by the contract, "
                f"but they correlate by {follows:.2f}",
                "One of the senses is wrong: correct it in the contract.",
                action.name,
            )


def _best_level(table: FrameTable, action: Element, state: Element, episodes: int) -> float:
    """The strongest correlation of a gripper's command with its state in the frames that follow."""
    found = [0.0]
    for shift in range(0, 9):
        before, after = _shifted(table, episodes, shift)
        commanded, reached = table.values(action)[before], table.values(state)[after]
        fine = np.isfinite(commanded) & np.isfinite(reached)
        found.append(_correlation(commanded[fine], reached[fine]))
    return max(found, key=abs)
