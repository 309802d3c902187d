"""Low-rank adapters (LoRA) for any named parts of a policy, by peft. Needs torch and the extra ``peft``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from forehand.errors import ConfigurationError
from forehand.learning.parameter_groups import matches, nearest_name
from forehand.utils.named_options import make_with_options

LORA = "lora"
"""Key of a policy's configuration: pattern of names → options (:class:`LoRAOptions`)."""

ADAPTER = ".lora_"
BASE = ".base_layer."

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)


@dataclass(frozen=True, kw_only=True)
class LoRAOptions:
    """Adapters of one pattern (Hu et al. 2022): W + alpha / rank · B A, with B (out, rank) of zeros, A (rank, in).

    rank: of the update. alpha: its scale is alpha / rank; None: 2 · rank. dropout: of what A reads, in training.
    """

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or isinstance(self.rank, bool) or self.rank < 1:
            raise ConfigurationError(f"policy.lora: rank is a whole number of at least 1, not {self.rank!r}.")
        if self.alpha is not None and (not isinstance(self.alpha, int | float) or self.alpha <= 0):
            raise ConfigurationError(f"policy.lora: alpha is a positive number, not {self.alpha!r}.")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ConfigurationError(f"policy.lora: dropout is a number from 0 to below 1, not {self.dropout!r}.")


def read_lora(config: Mapping[str, Any]) -> dict[str, LoRAOptions]:
    """The adapters that a policy's configuration asks for, by pattern. Raises :class:`ConfigurationError`."""
    given = config.get(LORA) or {}
    if not isinstance(given, Mapping) or not all(isinstance(options, Mapping) for options in given.values()):
        raise ConfigurationError(
            f"policy.lora maps names of parts to options, as {{backbone: {{rank: 8, alpha: 16}}}}, not {given!r}."
        )
    return {
        str(pattern): make_with_options(f"policy.lora: {pattern!r}", LoRAOptions, options)
        for pattern, options in given.items()
    }


def inject_lora(policy: nn.Module, adapters: Mapping[str, LoRAOptions]) -> None:
    """Put adapters into the layers of ``policy`` whose names match, and freeze what else the patterns match.

    A pattern has wildcards (``backbone.*``), or is a name, or the beginning of names up to a dot; a layer that several
    match has the first one's. Layers are linear maps, convolutions, embeddings, and other modules with a matrix
    ``weight``. The rest of the policy is trained as before. Names of adapted weights get ``.base_layer``.

    Raises :class:`ConfigurationError` for a pattern without such layers, and where peft is not installed.
    """
    if not adapters:
        return
    try:
        import peft
    except ImportError as error:
        raise ConfigurationError(
            "policy.lora needs the library peft, which is not installed: pip install 'forehand[peft]'."
        ) from error
    trained = {name: p.requires_grad for name, p in policy.named_parameters()}
    done: set[str] = set()
    for pattern, options in adapters.items():
        layers = {name: kind for name, kind in _layers(policy).items() if matches(pattern, name) and name not in done}
        if not layers:
            raise ConfigurationError(
                f"policy.lora: {pattern!r} matches no layer that can be adapted. {nearest_name(pattern, _layers(policy))}"
            )
        done |= layers.keys()
        modules = [name for name, parameter in layers.items() if parameter is None]
        config = peft.LoraConfig(
            r=options.rank,
            lora_alpha=options.alpha if options.alpha is not None else 2 * options.rank,
            lora_dropout=options.dropout,
            target_modules="|".join(map(re.escape, modules)) or [],
            target_parameters=[f"{name}.{parameter}" for name, parameter in layers.items() if parameter] or None,
            bias="none",
        )
        try:
            peft.inject_adapter_in_model(config, policy)
            vars(policy).pop("peft_config", None)  # of one pattern only; a second one would be warned of
        except (ValueError, TypeError, NotImplementedError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigurationError(f"policy.lora: {pattern!r} cannot be applied: {reason}") from error
    for name, parameter in policy.named_parameters():
        if ADAPTER in name:
            parameter.requires_grad_(True)
            parameter.data = parameter.data.float()
        else:
            original = base_name(name)
            frozen = any(matches(pattern, original) for pattern in adapters)
            parameter.requires_grad_(trained[original] and not frozen)


def base_name(name: str) -> str:
    """The name of a weight before adapters were put in."""
    return name.replace(BASE, ".")


def merge_lora(policy: nn.Module) -> None:
    """Add all adapters to the weights that they adapt, and take them out: the same function, up to rounding."""
    from peft.tuners.lora import LoraLayer

    for path, module in list(policy.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, name = path.rpartition(".")
            setattr(policy.get_submodule(parent), name, module.get_base_layer())


def unused_adapters(policy: nn.Module) -> list[str]:
    """Names of adapters that the last backward pass did not reach, such as those of weights that a part reads itself."""
    return [n for n, p in policy.named_parameters() if ADAPTER in n and p.requires_grad and p.grad is None]


def _layers(policy: nn.Module) -> dict[str, str | None]:
    """Layer → None, or the name of its matrix, where peft has no layer of its own for it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found: dict[str, str | None] = {}
    inside = [f"{path}." for path, module in policy.named_modules() if isinstance(module, BaseTunerLayer)]
    for path, module in policy.named_modules():
        if isinstance(module, BaseTunerLayer) or any(path.startswith(outer) for outer in inside):
            continue
        if isinstance(module, nn.MultiheadAttention):
            found[path] = "in_proj_weight"
        elif isinstance(module, _LAYERS):
            attention = path.rpartition(".")[0]
            if not isinstance(policy.get_submodule(attention), nn.MultiheadAttention):  # which reads its weights itself
                found[path] = None
        elif isinstance(weight := module._parameters.get("weight"), Tensor) and weight.ndim == 2:
            found[path] = "weight"
    return found
