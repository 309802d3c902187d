"""Episode numbers, as they are written: single ones, slices such as ``"0:100"``, and lists of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError

_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::([1-9]\d*))?")


def chosen_numbers(given: Any, known: NDArray[np.int64], where: str) -> list[int]:
    """The numbers of ``known`` (E,) that ``given`` names; a slice counts from 0 up to the last of them.

    Raises :class:`ConfigurationError` for a number that is not among them, and for what is no number.
    """
    if not isinstance(given, Sequence) or isinstance(given, str):
        given = [given]
    there, found = set(known.tolist()), []
    for one in given:
        if isinstance(one, str) and (part := _SLICE.fullmatch(one.strip())):
            bounds = [int(bound) if bound else None for bound in part.groups()]
            found += [number for number in range(max(there) + 1)[slice(*bounds)] if number in there]
        elif isinstance(one, int) and not isinstance(one, bool):
            if one not in there:
                raise ConfigurationError(
                    f"{where}: there is no episode {one}; there are {len(there)}, from {min(there)} to {max(there)}."
                )
            found.append(one)
        else:
            raise ConfigurationError(f'{where}: numbers, or slices such as "0:100", are needed, not {one!r}.')
    return found
