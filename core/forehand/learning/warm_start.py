"""Warm start: training initialized with another checkpoint's weights, for fine-tuning. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.compose.normalization import Normalizer
from forehand.compose.parts import Backbone
from forehand.errors import CheckpointError, ConfigurationError, nearest
from forehand.learning.checkpoint import (
    available_weights,
    find_checkpoint,
    fingerprint,
    load_policy,
    read_checkpoint,
    read_weights,
)
from forehand.learning.hub import origin_of
from forehand.learning.lora import read_lora
from forehand.learning.weights import state_dict_mismatch


def load_pretrained_weights(
    policy: Any,
    checkpoint: str | Path,
    reinitialize: Sequence[str] = (),
    *,
    partial: bool = False,
    weights: str | None = None,
    normalization: bool = False,
    elsewhere: Sequence[str] = (),
) -> dict[str, Any]:
    """Fill ``policy`` with the weights of a checkpoint folder, of the newest one of a training run, or of one on the hub.

    reinitialize: weights that keep their own initial values, by name or by the beginning of their names
    (``action_head.queries``, ``world_model``). partial: so do all that the checkpoint has not, or in another shape.
    weights: ``ema`` or ``raw``; None: the averages, where there are any. normalization: take it from the checkpoint, too;
    else it stays that of the new data. elsewhere: modules, by name, that are filled otherwise, and keep their values. A
    longer history is cut to the policy's. Adapters (LoRA) are added to the weights that they adapt. What the policy does
    not have is left aside.

    Returns facts for the provenance: ``checkpoint``, ``fingerprint``, ``fresh`` (what was reinitialized), ``left_aside``
    and, with ``partial``, ``not_filled``, name → why. Raises :class:`CheckpointError` naming what does not fit; then
    nothing was filled.
    """
    folder = find_checkpoint(checkpoint)
    config, _ = read_checkpoint(folder)
    weights = available_weights(folder, weights)
    offered, needed = read_weights(folder, weights), policy.state_dict()
    if read_lora(config):
        merged: Any = load_policy(folder, weights=weights, merge_lora=True)
        offered = merged.state_dict()
    own = set()
    for beginning in reinitialize:
        if not (meant := {name for name in needed if name == beginning or name.startswith(beginning + ".")}):
            hint = nearest(beginning, needed)
            raise ConfigurationError(f"reinitialize: the policy has no weights {beginning!r}. {hint}")
        own |= meant
    own |= {name for name in needed if any(name.startswith(f"{module}.") for module in elsewhere)}
    for path, module in policy.named_modules():
        if isinstance(module, Normalizer) and not normalization:
            own |= {name for name in needed if name.startswith(path + ".")}
        if isinstance(module, Backbone):
            inner = {n.removeprefix(path + "."): t for n, t in offered.items() if n.startswith(path + ".")}
            if inner:
                offered |= {f"{path}.{name}": tensor for name, tensor in module.truncate_history(inner).items()}
    wanted = {name: tensor for name, tensor in needed.items() if name not in own}
    kept = {name: tensor for name, tensor in offered.items() if name in wanted}
    unfit: dict[str, str] = {}
    if partial:
        unfit = _unfit(kept, wanted)
        own |= unfit.keys()
        kept, wanted = ({n: t for n, t in some.items() if n not in unfit} for some in (kept, wanted))
        if not kept:
            raise CheckpointError(
                f"init_partial: none of the weights in {folder.resolve()} fits this policy, by name and shape. Begin "
                f"without init_from."
            )
    if listing := state_dict_mismatch(kept, wanted):
        raise CheckpointError(
            f"Training cannot begin with the weights in {folder.resolve()}: they do not fit this policy.\n{listing}\n"
            f"Choose the policy that they were trained as, or begin these weights anew: reinitialize=[…], or whatever "
            f"does not fit: init_partial=true."
        )
    policy.load_state_dict(kept | {name: needed[name] for name in own})
    aside = sorted({name.partition(".")[0] for name in offered if name not in needed})
    facts = {
        "checkpoint": origin_of(folder),
        "fingerprint": fingerprint(folder, weights),
        "fresh": list(reinitialize),
        "left_aside": aside,
    }
    return facts | ({"not_filled": unfit} if partial else {})


def _unfit(offered: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Name → why, of what ``offered`` does not fill of the ``wanted`` tensors."""
    found = {}
    for name, tensor in wanted.items():
        if name not in offered:
            found[name] = "missing"
        elif offered[name].shape != tensor.shape:
            found[name] = f"found {tuple(offered[name].shape)}, needed {tuple(tensor.shape)}"
    return found
