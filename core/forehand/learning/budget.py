"""Memory budget for building modules: no larger than the weights to be loaded into them. Needs torch.

A configuration from elsewhere may have a million layers, or one that no memory holds. Building is stopped as soon as
there is more than the stored weights could fill.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules import module as hooks

from forehand.errors import CheckpointError
from forehand.learning.weights import Stored

SLACK = 2
"""Parameters may be built and dropped again, so that a part may make this many times what is stored."""

FREE_TENSORS = 1000
FREE_ELEMENTS = 2**26
FREE_MODULES = 20
"""Beyond the slack: tensors, numbers in them (of 256 MiB), and modules for each tensor.

As many as a ResNet-101 has, of which a vision tower may keep the first layers only.
"""


class TooLarge(CheckpointError):
    """A configuration describes more than the stored weights could fill."""


def build_within(make: Callable[[], Any], stored: Mapping[str, Stored]) -> Any:
    """What ``make`` builds; :class:`TooLarge` where that is far more than ``stored`` tensors fill.

    ``make`` is called twice, the first time on torch's ``meta`` device, where nothing takes memory.
    """
    try:
        with torch.device("meta"), _limited(stored):
            make()
    except TooLarge:
        raise
    except Exception:  # not everything can be made without memory; what is wrong shows below
        pass
    with _limited(stored):
        return make()


@contextmanager
def _limited(stored: Mapping[str, Stored]) -> Iterator[None]:
    """Count what this thread registers with modules, and raise where it is too much."""
    most_tensors = SLACK * len(stored) + FREE_TENSORS
    most_elements = SLACK * sum(tensor.elements for tensor in stored.values()) + FREE_ELEMENTS
    thread = threading.get_ident()
    tensors = elements = modules = 0

    def tensor(module: torch.nn.Module, name: str, value: torch.Tensor | None) -> None:
        nonlocal tensors, elements
        if value is None or threading.get_ident() != thread:
            return
        tensors, elements = tensors + 1, elements + value.numel()
        if tensors > most_tensors or elements > most_elements:
            raise _too_large(type(module), stored)

    def submodule(module: torch.nn.Module, name: str, value: torch.nn.Module | None) -> None:
        nonlocal modules
        modules += threading.get_ident() == thread
        if modules > FREE_MODULES * most_tensors:
            raise _too_large(type(module), stored)

    with ExitStack() as stack:
        for register, hook in (
            (hooks.register_module_parameter_registration_hook, tensor),
            (hooks.register_module_buffer_registration_hook, tensor),
            (hooks.register_module_module_registration_hook, submodule),
        ):
            stack.callback(register(hook).remove)
        yield


def _too_large(at: type, stored: Mapping[str, Stored]) -> TooLarge:
    elements = sum(tensor.elements for tensor in stored.values())
    return TooLarge(
        f"it is far larger than the stored weights, which are {len(stored)} tensors of {elements} numbers in all; "
        f"building it was stopped in {at.__name__}."
    )
