"""The names that Seer's released checkpoints use, and ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNUSED = re.compile(r"(recon_|action_pose_encoder|action_gripper_position_encoder|action_projector)")
"""In the checkpoints, but nothing in the forward pass."""

_RENAMED = (
    (r"action_pred_token$", "action_head.queries"),
    (r"obs_tokens$", "world_model.queries"),
    (r"mask_token$", "world_model.mask_token"),
    (r"image_decoder\.", "world_model.decoder."),
    (r"image_decoder_norm\.", "world_model.norm."),
    (r"image_decoder_pred\.", "world_model.predict."),
    (r"image_decoder_obs_pred_projector\.", "world_model.project."),
    (r"action_decoder\.", "action_head.trunk."),
    (r"arm_action_decoder\.0\.", "action_head.arm_motion."),
    (r"gripper_action_decoder\.0\.", "action_head.gripper_logit."),
    (r"transformer_backbone_position_embedding$", "backbone.timestep_embedding"),
    (r"embedding_layer_norm\.", "backbone.norm."),
    (r"transformer_backbone\.", "backbone."),
    (r"text_projector\.", "encoders.text.project."),
    (r"arm_state_encoder\.", "encoders.state.encode_arm."),
    (r"gripper_state_encoder\.", "encoders.state.encode_gripper."),
    (r"state_projector\.", "encoders.state.project."),
    (r"vision_encoder\.", "encoders.cameras.tower."),
    (r"perceiver_resampler\.layers\.(\d+)\.0\.", r"encoders.cameras.resample.attention.\1."),
    (r"perceiver_resampler\.layers\.(\d+)\.1\.", r"encoders.cameras.resample.feed_forward.\1."),
    (r"perceiver_resampler\.", "encoders.cameras.resample."),
    (r"image_primary_projector\.", "encoders.cameras.project.{primary}."),
    (r"image_wrist_projector\.", "encoders.cameras.project.{wrist}."),
    (r"cls_token_primary_projector\.", "encoders.cameras.project_class.{primary}."),
    (r"cls_token_wrist_projector\.", "encoders.cameras.project_class.{wrist}."),
)


def our_name(released: str, cameras: Sequence[str]) -> str | None:
    """What a released weight (without ``module.``) is called in a policy of Seer's presets; None if it is unused.

    cameras: the policy's names of the primary and the wrist camera. Some weights differ by leading axes of size 1. Raises
    KeyError for names that are not Seer's.
    """
    if UNUSED.match(released):
        return None
    for pattern, name in _RENAMED:
        renamed, count = re.subn("^" + pattern, name, released)
        if count:
            primary, wrist = cameras
            return renamed.format(primary=primary, wrist=wrist)
    raise KeyError(released)
