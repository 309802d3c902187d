"""Tasks of Meta-World: names, instructions and suites. Meta-World itself has no sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from forehand.errors import UnknownName, nearest

INSTRUCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "assembly-v3": "put the wrench's ring over the peg",
        "basketball-v3": "put the basketball into the hoop",
        "bin-picking-v3": "move the cube from the right bin into the left bin",
        "box-close-v3": "put the lid on the box",
        "button-press-topdown-v3": "press the button from above",
        "button-press-topdown-wall-v3": "press the button behind the wall from above",
        "button-press-v3": "press the button",
        "button-press-wall-v3": "press the button behind the wall",
        "coffee-button-v3": "press the button of the coffee machine",
        "coffee-pull-v3": "pull the mug away from the coffee machine",
        "coffee-push-v3": "push the mug under the coffee machine",
        "dial-turn-v3": "turn the dial",
        "disassemble-v3": "take the wrench's ring off the peg",
        "door-close-v3": "close the door",
        "door-lock-v3": "lock the door",
        "door-open-v3": "open the door",
        "door-unlock-v3": "unlock the door",
        "drawer-close-v3": "close the drawer",
        "drawer-open-v3": "open the drawer",
        "faucet-close-v3": "close the faucet",
        "faucet-open-v3": "open the faucet",
        "hammer-v3": "hammer the nail into the wall",
        "hand-insert-v3": "put the hand into the hole",
        "handle-press-side-v3": "press the handle down from the side",
        "handle-press-v3": "press the handle down",
        "handle-pull-side-v3": "pull the handle up from the side",
        "handle-pull-v3": "pull the handle up",
        "lever-pull-v3": "pull the lever up",
        "peg-insert-side-v3": "put the peg into the hole in the side of the box",
        "peg-unplug-side-v3": "pull the peg out of the hole",
        "pick-out-of-hole-v3": "take the puck out of the hole and to the goal",
        "pick-place-v3": "pick up the puck and bring it to the goal",
        "pick-place-wall-v3": "bring the puck over the wall to the goal",
        "plate-slide-back-side-v3": "slide the plate out of the goal to the side",
        "plate-slide-back-v3": "slide the plate back out of the goal",
        "plate-slide-side-v3": "slide the plate sideways into the goal",
        "plate-slide-v3": "slide the plate into the goal",
        "push-back-v3": "push the puck back to the goal",
        "push-v3": "push the puck to the goal",
        "push-wall-v3": "push the puck around the wall to the goal",
        "reach-v3": "reach the goal",
        "reach-wall-v3": "reach the goal behind the wall",
        "shelf-place-v3": "put the cube onto the shelf",
        "soccer-v3": "kick the ball into the goal",
        "stick-pull-v3": "pull the thermos with the stick",
        "stick-push-v3": "push the thermos with the stick",
        "sweep-into-v3": "sweep the cube into the hole",
        "sweep-v3": "sweep the cube off the table",
        "window-close-v3": "close the window",
        "window-open-v3": "open the window",
    }
)
"""Task → instruction."""

_DIFFICULTIES = {
    "medium": "basketball bin-picking box-close coffee-pull coffee-push hammer peg-insert-side push-wall soccer sweep "
    "sweep-into",
    "hard": "assembly hand-insert pick-out-of-hole pick-place push push-back",
    "very_hard": "shelf-place disassemble stick-pull stick-push pick-place-wall",
}
_MT10 = (
    "reach push pick-place door-open drawer-open drawer-close button-press-topdown peg-insert-side window-open "
    "window-close"
)


def _names(words: str) -> tuple[str, ...]:
    return tuple(f"{word}-v3" for word in words.split())


_HARDER = {name: _names(words) for name, words in _DIFFICULTIES.items()}
_EASY = tuple(name for name in INSTRUCTIONS if not any(name in names for names in _HARDER.values()))

SUITES: Mapping[str, Sequence[str]] = MappingProxyType(
    {"mt10": _names(_MT10), "mt50": tuple(INSTRUCTIONS), "easy": _EASY, **_HARDER}
)
"""Suite → tasks: MT10 and MT50 (Yu et al. 2019, arXiv 1910.10897, section 4), and MT50 by difficulty (Seo et al. 2022,
arXiv 2206.14244, appendix)."""


def tasks_of(suite: str) -> Sequence[str]:
    """The tasks of a suite, or a task by its name; an unknown name is answered with the nearest."""
    if suite in INSTRUCTIONS:
        return (suite,)
    if suite not in SUITES:
        raise UnknownName(f"Meta-World has no suite {suite!r}. {nearest(suite, [*SUITES, *INSTRUCTIONS])}")
    return SUITES[suite]
