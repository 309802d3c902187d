"""Conversion between released checkpoints and checkpoint folders."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from forehand.compose import ComposedPolicy
from forehand.errors import CheckpointError, ConfigurationError, nearest
from forehand.learning.checkpoint import build_policy, latest_checkpoint, load_policy, read_provenance, save_policy
from forehand.learning.hub import locate_checkpoint
from forehand.learning.recipe import Recipe
from forehand.learning.training_state import (
    STEP,
    TRAINING_STATE,
    pack_optimizer,
    read_training_state,
    unpack_optimizer,
)
from forehand.utils.files import replacing
from forehand.utils.renames import renamed_keys
from forehand_seer.clip_tower import read_clip_text
from forehand_seer.contracts import PLATFORMS
from forehand_seer.mae_vit import read_mae
from forehand_seer.released import cameras_of, configuration, load, released_weights
from forehand_seer.released_names import (
    PREFIX,
    VISION,
    our_name,
    released_name,
    released_order,
    released_shape,
    unused_shapes,
)
from forehand_seer.released_training import (
    EPOCH,
    OPTIMIZER,
    ReleasedTraining,
    read_training,
    released_training,
    training_facts,
)
from forehand_seer.torch_files import read_weights

log = logging.getLogger(__name__)

WEIGHTS = "model_state_dict"
HEADS = {384: 12, 1024: 16}  # by D, of Seer and Seer-Large; they leave no trace in the weights
PHASES = ("finetuning", "pretraining")
TRAINING = "training"  # of the file that a checkpoint was converted from, in its provenance
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
    optimizer_order: str | None = None,
    carry_training: bool = True,
) -> Path:
    """Write ``output``: a checkpoint folder from a ``released`` file, or a released file from a ``checkpoint`` folder.

    mae, clip: files of the frozen towers, which a released file leaves out. platform, phase: the platform and phase of
    training, which the file does not hold. flags: released flags that override those read off the weights.

    carry_training: bring optimizer, scheduler and epoch over, too, where they are known; the log says what was carried.
    optimizer_order: the order in which a released file numbers the parameters of its optimizer, where the file does not
    say it (:func:`~forehand_seer.released_training.read_training`).

    Raises :class:`CheckpointError` that names every weight that is missing, unexpected or of another shape, or what
    contradicts the order of the optimizer; nothing is written then.
    """
    target = Path(output).expanduser()
    if (released is None) == (checkpoint is None):
        raise ConfigurationError("Give either released=<file> or checkpoint=<folder>: what is to be converted.")
    if target.exists():
        raise CheckpointError(f"{target} exists; nothing is overwritten. Remove it or choose another output.")
    if optimizer_order is not None and (checkpoint is not None or not carry_training):
        raise ConfigurationError("optimizer_order is about the training that a released file carries. Leave it out.")
    if checkpoint is not None:
        _write_released(locate_checkpoint(checkpoint, training_state=True), carry_training, target)
    else:
        if mae is None or clip is None:
            raise ConfigurationError(
                "A released file leaves out the frozen towers: give mae=<MAE's ViT-B/16> and clip=<CLIP ViT-B/32> too."
            )
        if platform not in PLATFORMS:
            raise ConfigurationError(f"unknown platform {platform!r}. {nearest(platform, PLATFORMS)}")
        if phase not in PHASES:
            raise ConfigurationError(f"unknown phase {phase!r}. {nearest(phase, PHASES)}")
        of_file = partial(read_training, order=optimizer_order) if carry_training else None
        file = Path(str(released)).expanduser()
        _write_checkpoint(file, Path(mae), Path(clip), platform, phase, flags or {}, of_file, target)
    return target


# ---- from a released file ---------------------------------------------------------------------------------------------


def _write_checkpoint(
    file: Path,
    mae: Path,
    clip: Path,
    platform: str,
    phase: str,
    flags: Mapping[str, Any],
    read: Callable[[Path, Mapping[str, Tensor], Sequence[str]], ReleasedTraining | str] | None,
    folder: Path,
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
    trained = [name for name in released_weights(policy) if not name.startswith(VISION)]
    training = read(file, weights, trained) if read else "carry_training is false"
    if isinstance(training, str):
        log.info("Weights only: %s.", training)
        save_policy(folder, policy, config, {}, {"converted": came_from})
        return
    state = _training_state(policy, training)
    save_policy(
        folder,
        policy,
        config,
        {},
        {"converted": {**came_from, TRAINING: training.facts}},
        extra=lambda staging: save_file(state, staging / TRAINING_STATE),
    )
    _log_carried(training.facts, len(training.state), len(trained))


def _training_state(policy: ComposedPolicy, training: ReleasedTraining) -> dict[str, Tensor]:
    """The tensors of our training state: moments by our names, in our shapes."""
    cameras, parameters = cameras_of(policy), dict(policy.named_parameters())
    state = {}
    for name, kinds in training.state.items():
        ours = str(our_name(name, cameras))
        shape = parameters[ours].shape
        state[ours] = {kind: value.reshape(() if kind == "step" else shape) for kind, value in kinds.items()}
    return pack_optimizer(state) | {STEP: torch.tensor(training.step)}


def _log_carried(facts: Mapping[str, Any], carried: int, trained: int) -> None:
    rate, epoch = facts[OPTIMIZER].get("lr"), facts[EPOCH]
    log.info(
        "Carried with the weights: AdamW's state of %s of %s parameters, %s steps, the schedule's place (next learning "
        "rate: %s), epoch: %s. Random states were not.",
        carried,
        trained,
        facts["step"],
        "not known" if rate is None else f"{rate:.6g}",
        "not known" if epoch is None else epoch,
    )


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


def _write_released(folder: Path, carry_training: bool, file: Path) -> None:
    policy: Any = load_policy(folder, weights="raw")
    try:
        mine = released_weights(policy)
    except (AttributeError, KeyError, ValueError) as error:
        raise CheckpointError(f"This policy is no Seer: the released model has nothing like it ({error}).") from error
    weights = {name: tensor.view(released_shape(name, tensor.shape)) for name, tensor in mine.items()}
    dim = weights["action_pred_token"].shape[-1]
    # The released code expects them to be there, and never looks at them.
    weights |= {name: torch.zeros(shape) for name, shape in unused_shapes(dim).items()}
    names = released_order(name for name in weights if not name.startswith(VISION))
    content: dict[str, Any] = {WEIGHTS: {PREFIX + name: weights[name].contiguous() for name in names}}
    training = _training_of(policy, latest_checkpoint(folder) or folder, names) if carry_training else None
    if training is None:
        log.info("Weights only: %s holds no training state of all its weights in one group.", folder)
    else:
        content |= released_training(names, training.state, training.step, training.facts)
        _log_carried(training.facts, len(training.state), len(names) - len(unused_shapes(dim)))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file, fsync=True) as staging:
        torch.save(content, staging)


def _training_of(policy: ComposedPolicy, checkpoint: Path, names: Sequence[str]) -> ReleasedTraining | None:
    """The training state of a checkpoint by released ``names``; None where the released layout cannot hold it."""
    about = read_provenance(checkpoint)
    groups = [group for group in about.get("parameter_groups", []) if not group.get("frozen")]
    if not (checkpoint / TRAINING_STATE).is_file() or len(groups) > 1:
        return None
    tensors, cameras = read_training_state(checkpoint), cameras_of(policy)
    step, state = int(tensors[STEP]), {}
    for ours, kinds in unpack_optimizer(tensors).items():
        try:
            name = released_name(ours, cameras)
        except KeyError:  # a text tower that was trained
            return None
        if name not in names:
            return None
        state[name] = {
            kind: value.reshape(() if kind == "step" else released_shape(name, value.shape))
            for kind, value in kinds.items()
        }
    if TRAINING in about.get("converted", {}):
        return ReleasedTraining(state, step, about["converted"][TRAINING])
    recipe = renamed_keys(about["recipe"], under="recipe")
    return ReleasedTraining(state, step, training_facts(Recipe(**recipe), step))
