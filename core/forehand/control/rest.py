"""Bringing a robot to rest, and reporting whether that succeeded. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.errors import ForehandError, afterwards, contained, describe
from forehand.robot import Robot


class HoldUnknown(ForehandError):
    """A robot was to hold, and whether it does is unknown."""


def hold(robot: Robot) -> None:
    """Let ``robot`` hold; raises :class:`HoldUnknown` where it fails, or gives no answer."""
    try:
        robot.hold()
    except HoldUnknown:
        raise
    except BaseException as error:  # drivers fail in any way; after each of them it is unknown whether the robot holds
        failure = contained(error, "The robot's hold()")
        raise HoldUnknown(
            f"No confirmation of the hold: whether the robot holds is unknown. Look after it. ({describe(failure)})"
        ) from error


def rest_action(contract: Contract, last: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The action (A,) that leaves a robot where its ``last`` one took it: deltas are 0, all else is commanded again.

    Without a last one, everything is 0.
    """
    absolute = np.repeat([field.mode != "delta" for field in contract.action], [field.size for field in contract.action])
    return np.where(absolute, 0 if last is None else last, 0).astype(np.float32)


@dataclass
class Rest:
    """Whether a robot is known to hold."""

    known: bool = False


@contextmanager
def at_rest_afterwards(robot: Robot) -> Iterator[Rest]:
    """Context manager that lets ``robot`` hold at its end, also after an error; its value then states the outcome.

    Raises :class:`HoldUnknown` where the hold fails; what the block itself raised goes first, with that as its note.
    """
    rest = Rest()

    def come_to_rest() -> None:
        hold(robot)
        rest.known = True

    with afterwards(come_to_rest):
        yield rest
