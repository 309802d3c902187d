"""Random numbers of one session, from torch's default generators, which LeRobot's policies draw from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's default generators begin at ``seed`` inside, and go on as before afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def random_state(device: torch.device) -> Tensor:
    """The state of torch's default generators, those of the CPU and of ``device``, as bytes."""
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(getattr(torch, device.type).get_rng_state().cpu())
    return torch.cat(states)
