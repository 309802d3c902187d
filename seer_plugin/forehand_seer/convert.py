"""Conversion between released checkpoints and checkpoint folders."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forehand.compose import ComposedPolicy
from forehand.errors import CheckpointError, ConfigurationError, nearest
from forehand.learning.checkpoint import build_policy, load_policy, save_policy
from forehand.utils.files import replacing
from forehand_seer.clip_tower import read_clip_text
from forehand_seer.contracts import PLATFORMS
from forehand_seer.mae_vit import read_mae
from forehand_seer.released import configuration, load, released_weights
from forehand_seer.released_names import PREFIX, VISION, released_shape, unused_shapes
from forehand_seer.torch_files import read_weights

WEIGHTS = "model_state_dict"
HEADS = {384: 12, 1024: 16}  # by D, of Seer and Seer-Large; they leave no trace in the weights
PHASES = ("finetuning", "pretraining")
LARGE = 1024  # Seer-Large's D

_TOWER_HEAD = 64  # numbers of a head, in every ViT of MAE's and every text tower of CLIP's


def convert(
    *,
    output: str,
    released: str | None = None,
    checkpoint: str | None = None,
    mae: str | None = None,
    clip: str | None = None,
    platform: str = "calvin",
    phase: str = "finetuning",
    flags: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``output``: a checkpoint folder from a ``released`` file, or a released file from a ``checkpoint`` folder.

    mae, clip: files of the frozen towers, which a released file leaves out. platform, phase: the platform and phase of
    training, which the file does not hold. flags: released flags that override those read off the weights. Raises
    :class:`CheckpointError` that names every weight that is missing, unexpected or of another shape; nothing is written
    then.
    """
    target = Path(output).expanduser()
    if (released is None) == (checkpoint is None):
        raise ConfigurationError("Give either released=<file> or checkpoint=<folder>: what is to be converted.")
    if target.exists():
        raise CheckpointError(f"{target} exists; nothing is overwritten. Remove it or choose another output.")
    if checkpoint is not None:
        _write_released(load_policy(checkpoint), target)
    else:
        if mae is None or clip is None:
            raise ConfigurationError(
                "A released file leaves out the frozen towers: give mae=<MAE's ViT-B/16> and clip=<CLIP ViT-B/32> too."
            )
        if platform not in PLATFORMS:
            raise ConfigurationError(f"unknown platform {platform!r}. {nearest(platform, PLATFORMS)}")
        if phase not in PHASES:
            raise ConfigurationError(f"unknown phase {phase!r}. {nearest(phase, PHASES)}")
        _write_checkpoint(Path(str(released)).expanduser(), Path(mae), Path(clip), platform, phase, flags or {}, target)
    return target


# ---- from a released file ---------------------------------------------------------------------------------------------


def _write_checkpoint(
    file: Path, mae: Path, clip: Path, platform: str, phase: str, flags: Mapping[str, Any], folder: Path
) -> None:
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in read_weights(file, under=WEIGHTS + ".").items()}
    if not weights:
        raise CheckpointError(f"{file} holds no {WEIGHTS}, so it is no released checkpoint of Seer.")
    vision, text = read_mae(mae.expanduser()), read_clip_text(clip)
    read_off = _flags(weights, file) | _flags_of(platform, phase, weights) | dict(flags)
    config = configuration(**_with_heads(read_off, file))
    config["encoders"]["cameras"]["tower"] |= _vision_sizes(vision, mae)
    config["encoders"]["text"]["tower"] = _text_sizes(text, clip)
    config["image_size"] = config["encoders"]["cameras"]["tower"]["patch"] * math.isqrt(vision["pos_embed"].shape[1] - 1)

    policy: ComposedPolicy = build_policy(config, PLATFORMS[platform](), {})
    tower: Any = policy.encoders["text"].tower
    offered = weights | {VISION + name: tensor for name, tensor in vision.items()}
    _all(partial(load, policy, offered), partial(tower.fill, text, clip))
    came_from = {"released": str(file), "mae": str(mae), "clip": str(clip), "platform": platform, "flags": read_off}
    save_policy(folder, policy, config, {}, {"converted": came_from})


def _all(*steps: Callable[[], None]) -> None:
    """Run every step, then raise the errors of all as one."""
    complaints = []
    for step in steps:
        try:
            step()
        except CheckpointError as error:
            complaints.append(str(error))
    if complaints:
        raise CheckpointError("\n".join(complaints))


def _flags(weights: Mapping[str, Tensor], file: Path) -> dict[str, Any]:
    """The sizes that the weights show."""
    places = _shape(weights, "transformer_backbone_position_embedding", 4, file)
    sizes = {
        "sequence_length": places[1],
        "hidden_dim": places[3],
        "transformer_layers": _count(weights, r"transformer_backbone\.h\.(\d+)\."),
        "num_resampler_query": _shape(weights, "perceiver_resampler.latents", 2, file)[0],
        "action_pred_steps": _shape(weights, "action_pred_token", 4, file)[2],
        "obs_pred": "obs_tokens" in weights,
    }
    if sizes["obs_pred"]:
        sizes["num_obs_token_per_image"] = _shape(weights, "obs_tokens", 4, file)[2] // 2
    return sizes


def _flags_of(platform: str, phase: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The flags that follow from platform and phase, and not from the weights."""
    flags: dict[str, Any] = {"gripper_width": platform == "libero"}
    if phase == "pretraining":
        flags |= {"atten_goal": 4, "atten_goal_state": True, "atten_only_obs": True}
        flags |= {"mask_ratio": 0.5 if platform == "libero" else 0.0}
        flags |= {"attn_robot_proprio_state": weights["action_pred_token"].shape[-1] == LARGE}
    return flags


def _with_heads(flags: dict[str, Any], file: Path) -> dict[str, Any]:
    if "transformer_heads" in flags:
        return flags
    if flags["hidden_dim"] not in HEADS:
        raise ConfigurationError(
            f"{file} has tokens of width {flags['hidden_dim']}, which is neither Seer's ({min(HEADS)}) nor Seer-Large's "
            f"({max(HEADS)}): give its number of attention heads with flags={{transformer_heads: …}}."
        )
    return flags | {"transformer_heads": HEADS[flags["hidden_dim"]]}


def _vision_sizes(vision: Mapping[str, Tensor], file: Path) -> dict[str, Any]:
    width, _, patch, _ = _shape(vision, "patch_embed.proj.weight", 4, file)
    _shape(vision, "pos_embed", 3, file)
    return {"width": width, "patch": patch, "heads": width // _TOWER_HEAD, "layers": _count(vision, r"blocks\.(\d+)\.")}


def _text_sizes(text: Mapping[str, Tensor], file: Path) -> dict[str, Any]:
    width = _shape(text, "positional_embedding", 2, file)[1]
    layers = _count(text, r"transformer\.resblocks\.(\d+)\.")
    return {"weights": None, "width": width, "heads": width // _TOWER_HEAD, "layers": layers}


def _shape(weights: Mapping[str, Tensor], name: str, axes: int, file: Path) -> tuple[int, ...]:
    if name not in weights:
        raise CheckpointError(f"{file} does not hold what it should: {name} is missing.")
    if weights[name].ndim != axes:
        raise CheckpointError(f"{file}: {name} has shape {tuple(weights[name].shape)}, but {axes} axes are needed.")
    return tuple(weights[name].shape)


def _count(weights: Mapping[str, Tensor], numbered: str) -> int:
    return len({match[1] for name in weights if (match := re.match(numbered, name))})


# ---- to a released file -----------------------------------------------------------------------------------------------


def _write_released(policy: Any, file: Path) -> None:
    try:
        mine = released_weights(policy)
    except (AttributeError, KeyError, ValueError) as error:
        raise CheckpointError(f"This policy is no Seer: the released model has nothing like it ({error}).") from error
    weights = {name: tensor.view(released_shape(name, tensor.shape)) for name, tensor in mine.items()}
    dim = weights["action_pred_token"].shape[-1]
    # The released code expects them to be there, and never looks at them.
    weights |= {name: torch.zeros(shape) for name, shape in unused_shapes(dim).items()}
    trained = {PREFIX + name: tensor.contiguous() for name, tensor in weights.items() if not name.startswith(VISION)}
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file, fsync=True) as staging:
        torch.save({WEIGHTS: trained}, staging)
