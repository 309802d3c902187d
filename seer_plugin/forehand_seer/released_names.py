"""Mapping between the weight names of Seer's released checkpoints and ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

PREFIX = "module."
"""Stands before every name in a released checkpoint."""

UNUSED = re.compile(r"(recon_|action_pose_encoder|action_gripper_position_encoder|action_projector)")
"""In the checkpoints, but nothing in the forward pass."""

VISION = "vision_encoder."
"""MAE's ViT, which released checkpoints leave out since it is frozen."""

# Beginnings of released names, and of ours; the first that fits counts. {n} is a number.
_RENAMED = (
    ("action_pred_token", "action_head.queries"),
    ("obs_tokens", "world_model.queries"),
    ("mask_token", "world_model.mask_token"),
    ("image_decoder.", "world_model.decoder."),
    ("image_decoder_norm.", "world_model.norm."),
    ("image_decoder_pred.", "world_model.predict."),
    ("image_decoder_obs_pred_projector.", "world_model.project."),
    ("action_decoder.", "action_head.trunk."),
    ("arm_action_decoder.0.", "action_head.arm_motion."),
    ("gripper_action_decoder.0.", "action_head.gripper_logit."),
    ("transformer_backbone_position_embedding", "backbone.timestep_embedding"),
    ("embedding_layer_norm.", "backbone.norm."),
    ("transformer_backbone.", "backbone."),
    ("text_projector.", "encoders.text.project."),
    ("arm_state_encoder.", "encoders.state.encode_arm."),
    ("gripper_state_encoder.", "encoders.state.encode_gripper."),
    ("state_projector.", "encoders.state.project."),
    (VISION, "encoders.cameras.tower."),
    ("perceiver_resampler.layers.{n}.0.", "encoders.cameras.resample.attention.{n}."),
    ("perceiver_resampler.layers.{n}.1.", "encoders.cameras.resample.feed_forward.{n}."),
    ("perceiver_resampler.", "encoders.cameras.resample."),
    ("image_primary_projector.", "encoders.cameras.project.{primary}."),
    ("image_wrist_projector.", "encoders.cameras.project.{wrist}."),
    ("cls_token_primary_projector.", "encoders.cameras.project_class.{primary}."),
    ("cls_token_wrist_projector.", "encoders.cameras.project_class.{wrist}."),
)

# Modules of the released model, in the order of its checkpoints.
_ORDER = (
    "action_pred_token",
    "obs_tokens",
    "transformer_backbone_position_embedding",
    "mask_token",
    "text_projector",
    "arm_state_encoder",
    "gripper_state_encoder",
    "state_projector",
    "action_pose_encoder",
    "action_gripper_position_encoder",
    "action_projector",
    "perceiver_resampler.latents",
    "perceiver_resampler.layers",
    "perceiver_resampler.norm",
    "image_primary_projector",
    "cls_token_primary_projector",
    "image_wrist_projector",
    "cls_token_wrist_projector",
    "embedding_layer_norm",
    "transformer_backbone.h",
    "transformer_backbone.ln_f",
    "action_decoder",
    "arm_action_decoder",
    "gripper_action_decoder",
    "recon_state_decoder",
    "recon_arm_state_decoder",
    "recon_gripper_state_decoder",
    "image_decoder_obs_pred_projector",
    "image_decoder",
    "image_decoder_norm",
    "image_decoder_pred",
)

_QUERIES = ("action_pred_token", "obs_tokens")  # with two axes of size 1 in front, where ours have none


def our_name(released: str, cameras: Sequence[str]) -> str | None:
    """What a released weight (without ``module.``) is called in a policy of Seer's presets; None if it is unused.

    cameras: the policy's names of the primary and the wrist camera. Some weights differ by leading axes of size 1. Raises
    KeyError for names that are not Seer's.
    """
    return None if UNUSED.match(released) else _translate(released, _pairs(cameras))


def released_name(ours: str, cameras: Sequence[str]) -> str:
    """The inverse of :func:`our_name`; raises KeyError for weights that Seer does not have."""
    return _translate(ours, [(theirs, mine) for mine, theirs in _pairs(cameras)])


def released_shape(released: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a weight in a released checkpoint, from its shape in a policy."""
    return ((1, 1) if released in _QUERIES else ()) + tuple(shape)


def released_order(names: Iterable[str]) -> list[str]:
    """Trained released names in the order of a released checkpoint; within a numbered layer, their order stays."""

    def place(name: str) -> tuple[int, list[int]]:
        of = next(i for i, module in enumerate(_ORDER) if name == module or name.startswith(module + "."))
        return of, [int(number) for number in re.findall(r"\.(\d+)(?=\.)", name)]

    return sorted(names, key=place)


def unused_shapes(dim: int) -> Mapping[str, tuple[int, ...]]:
    """The weights that released checkpoints of width D hold without use, and their shapes."""
    half = dim // 2
    linear = {  # outputs, inputs
        "action_pose_encoder": (dim, 6),
        "action_gripper_position_encoder": (dim, 2),
        "action_projector": (dim, 2 * dim),
        "recon_state_decoder.0": (half, dim),
        "recon_state_decoder.2": (half, half),
        "recon_arm_state_decoder.0": (6, half),
        "recon_gripper_state_decoder.0": (1, half),
    }
    weights = {f"{name}.weight": shape for name, shape in linear.items()}
    return weights | {f"{name}.bias": shape[:1] for name, shape in linear.items()}


def _pairs(cameras: Sequence[str]) -> list[tuple[str, str]]:
    primary, wrist = cameras
    return [(theirs, ours.format(primary=primary, wrist=wrist, n="{n}")) for theirs, ours in _RENAMED]


def _translate(name: str, pairs: Sequence[tuple[str, str]]) -> str:
    for before, after in pairs:
        pattern = re.escape(before).replace(re.escape("{n}"), r"(\d+)")
        renamed, count = re.subn("^" + pattern, after.replace("{n}", r"\1"), name)
        if count:
            return renamed
    raise KeyError(name)
