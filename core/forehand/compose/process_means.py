"""Means over all windows of a batch of which each of several processes has a share. Needs torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch.distributed as dist
from torch import Tensor

_SHARED: ContextVar[bool] = ContextVar("shared", default=False)


@contextlib.contextmanager
def shared_batch() -> Iterator[None]:
    """Inside, :func:`denominator` counts what the batch holds in all processes, which must call it equally often."""
    token = _SHARED.set(True)
    try:
        yield
    finally:
        _SHARED.reset(token)


def mean_count(count: Tensor) -> Tensor:
    """``count`` itself, or the mean over the processes that share a batch."""
    if not _SHARED.get():
        return count
    count = count.detach().clone()
    dist.all_reduce(count)
    return count / dist.get_world_size()


def denominator(count: Tensor) -> Tensor:
    """What a sum over ``count`` elements is divided by for their mean, at least 1 element.

    Where processes share a batch (:func:`shared_batch`), the mean over them of their quotients is the mean over all
    elements, whichever process has how many.
    """
    if not _SHARED.get():
        return count.clamp(min=1)
    return mean_count(count).clamp(min=1 / dist.get_world_size())
