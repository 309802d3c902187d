"""Processes that train together, as ``torchrun`` and ``accelerate launch`` start them. Needs torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from forehand.errors import ConfigurationError

PATIENCE = timedelta(hours=24)
"""How long processes wait for each other: one may decode a dataset meanwhile. One that ends is noticed at once."""


class Processes:
    """The processes of a training, and which of them this one is.

    rank: from 0 on; the one of rank 0 is the main one, which writes. count: how many there are.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.count, self.device = rank, count, device
        self.is_main = rank == 0
        # Requests are agreed upon by CPUs, so that no process waits for its accelerator.
        self._agreement = dist.new_group(backend="gloo") if count > 1 else None

    def share(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch, (B,) → (B / count,)."""
        return np.split(indices, self.count)[self.rank]

    def require_divisible(self, batch_size: int) -> None:
        """Raise :class:`ConfigurationError` unless the processes can have equal shares of a batch."""
        if batch_size % self.count:
            raise ConfigurationError(
                f"recipe.batch_size is the windows of a batch in all processes together, and {batch_size} cannot be "
                f"shared equally among {self.count}. Choose a multiple of {self.count}, or another number of processes."
            )

    def any(self, requests: Sequence[bool]) -> list[bool]:
        """Which of ``requests`` at least one process has; all must call this with as many."""
        if self._agreement is None:
            return list(requests)
        flags = torch.tensor(requests, dtype=torch.uint8)
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._agreement)
        return flags.bool().tolist()

    def told(self, value: Any) -> Any:
        """``value`` of the main process, which all must ask for; it is pickled."""
        if self._agreement is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, group=self._agreement)
        return box[0]

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self._agreement is not None:
            dist.barrier(group=self._agreement)

    def means(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means over the processes that have a value of that name; their order is that of the first."""
        if self._agreement is None:
            return dict(values)
        every: list[Any] = [None] * self.count
        dist.all_gather_object(every, dict(values), group=self._agreement)
        names = dict.fromkeys(name for one in every for name in one)
        return {name: sum(found) / len(found) for name in names if (found := [one[name] for one in every if name in one])}

    def seed(self, seed: int, batch: int) -> None:
        """Seed torch's generators for a batch, by the seed, its number and the rank; alone, they go on as they are."""
        if self.count > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, batch, self.rank]).generate_state(1, np.uint64)[0] >> 1))

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """What is inside is done by the main process first, and then by the others, such as filling a cache."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ


def join_processes(device: torch.device) -> Processes:
    """Meet the other processes that a launcher started; alone, where none did.

    device: its type is that on which each trains, on the one of its number on its computer.
    """
    if not launched():
        return Processes(device=device)
    from accelerate import PartialState

    state = PartialState(cpu=device.type == "cpu", timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes, device if device.type == "cpu" else state.device)


def leave_processes() -> None:
    """End the connections to the other processes, if there are any."""
    if dist.is_available() and dist.is_initialized():
        from accelerate import PartialState

        dist.destroy_process_group()
        PartialState._reset_state()


def same_everywhere(tensors: Sequence[Tensor]) -> None:
    """Give ``tensors`` the values of the main process."""
    for tensor in tensors:
        dist.broadcast(tensor.detach(), 0)
