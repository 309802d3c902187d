"""Parameter groups of a LeRobot policy, scaled to Forehand's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def optimizer_groups(module: Any, learning_rate: float) -> list[dict[str, Any]]:
    """The groups of ``module.get_optim_params()``, in the form of torch's optimizers.

    A group with a learning rate of its own keeps its ratio to that of LeRobot's optimizer preset, with ``learning_rate``
    in the preset's place; its weight decay is kept as it is. The preset's rate, betas and schedule are not used.
    """
    given = module.get_optim_params()
    if isinstance(given, Mapping):
        named = {"params": given["params"]} if "params" in given else dict(given)
        entries: list[Any] = [{"name": name, "params": params} for name, params in named.items()]
    else:
        entries = list(given)
        if not entries or not isinstance(entries[0], Mapping):
            entries = [{"params": entries}]
    groups = []
    for number, entry in enumerate(entries):
        params = entry["params"]
        held = [params] if isinstance(params, Tensor) else list(params)
        held = [p[1] if isinstance(p, tuple) else p for p in held]
        held = [p for p in held if isinstance(p, nn.Parameter) and p.requires_grad]
        if not held:
            continue
        group = {"name": str(entry.get("name", f"lerobot {number}")), "params": held}
        if "lr" in entry:
            group["lr"] = learning_rate * entry["lr"] / module.config.get_optimizer_preset().lr
        if "weight_decay" in entry:
            group["weight_decay"] = entry["weight_decay"]
        groups.append(group)
    return groups
