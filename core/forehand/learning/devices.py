"""Device selection and transfer of tensors. Needs torch."""

from __future__ import annotations

import torch

from forehand.errors import ConfigurationError


def pick_device(name: str) -> torch.device:
    """A device by name; ``auto`` is the first accelerator, or the CPU."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(f"There is no device {name!r} here ({error}). Use device=cpu or device=auto.") from error
