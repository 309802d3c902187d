"""No-op filtering: steps whose command moves nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def without_no_ops(actions: NDArray[np.float64], threshold: float) -> list[int]:
    """The numbers of the steps, among ``actions`` (T, A), that command something.

    That is a motion (all but the last element) longer than ``threshold``, or another gripper command (the last element)
    than that of the last step that is kept.

    Source: the published filtering of LIBERO's demonstrations for OpenVLA (Kim et al. 2024), without its replay.
    """
    kept: list[int] = []
    for i, action in enumerate(actions):
        still = float(np.linalg.norm(action[:-1])) < threshold
        if not (still and (not kept or action[-1] == actions[kept[-1], -1])):
            kept.append(i)
    return kept
