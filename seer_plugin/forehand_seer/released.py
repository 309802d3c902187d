"""Released Seer models: flags, weight names, inputs and outputs.

::

    policy = build(sequence_length=10)
    load(policy, state_dict)  # released names, the vision encoder's included
    arm, gripper, foresight = predict(policy, image_primary, image_wrist, state, text_feature)
    running = stream(policy)
    chunk, action = running.step(image_primary[0, 0], image_wrist[0, 0], state[0, 0], text_feature)

Images are 224 × 224, channels first, and normalized with CLIP's mean and standard deviation. A state is x, y, z, roll,
pitch, yaw (m, rad) and the gripper: one number, open where it reaches 1, or with ``gripper_width`` both finger widths. A
text feature is CLIP ViT-B/32's (512), projected and not normalized.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from forehand import Observation
from forehand.compose import ComposedPolicy
from forehand.control.chunking import BinaryGripper, RecedingHorizon, TemporalEnsemble
from forehand.errors import CheckpointError, ConfigurationError, nearest
from forehand.learning.checkpoint import build_policy
from forehand.learning.weights import state_dict_mismatch
from forehand_seer import contracts
from forehand_seer.released_names import PREFIX, UNUSED, our_name, released_name, released_shape


@dataclass(frozen=True)
class Flags:
    """What the released code calls the sizes and options of the model, and their values for Seer on CALVIN."""

    sequence_length: int = 10  # T
    future_steps: int = 3  # k
    action_pred_steps: int = 3  # H
    hidden_dim: int = 384  # D
    transformer_layers: int = 24
    transformer_heads: int = 12
    num_resampler_query: int = 6  # Q
    num_obs_token_per_image: int = 9  # F
    gripper_width: bool = False  # the state holds finger widths, not open or closed
    obs_pred: bool = True  # foresight
    atten_goal: int = 0  # g: foresight reads the goal so many steps ahead
    atten_goal_state: bool = False  # and the goal is a state
    atten_only_obs: bool = False  # actions read what is seen now and foreseen, and nothing else
    attn_robot_proprio_state: bool = False  # but for the state now
    mask_ratio: float = 0.0  # of the foresight tokens that are hidden from the actions in training

    @classmethod
    def read(cls, flags: Mapping[str, Any]) -> Flags:
        """The flags by name; raises :class:`ConfigurationError` for unknown flags and for invalid combinations."""
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in flags if name not in known]:
            raise ConfigurationError(f"Seer has no flag {unknown[0]!r}. {nearest(unknown[0], known)}")
        read = cls(**flags)
        if (read.atten_goal > 0) != read.atten_goal_state:
            raise ConfigurationError(
                f"atten_goal={read.atten_goal} does not go with atten_goal_state={read.atten_goal_state}: Seer's goals "
                f"are states some steps ahead. Give both, or neither."
            )
        return read


class Output(NamedTuple):
    """Seer's outputs at every timestep.

    arm_action: (B, T, H, 6) in [-1, 1]; gripper_action: (B, T, H, 1), the probability that the label is 1; foresight:
    (B, T, 2, 196, 768), each camera's patches k steps ahead, each normalized by its own moments, or None without
    ``obs_pred``.
    """

    arm_action: Tensor
    gripper_action: Tensor
    foresight: Tensor | None


def configuration(**flags: Any) -> dict[str, Any]:
    """The policy configuration of released ``flags``; see :class:`Flags`."""
    wanted = Flags.read(flags)
    preset = resources.files("forehand_seer.conf").joinpath("policy/seer_calvin.yaml").read_text(encoding="utf-8")
    config: Any = OmegaConf.to_container(OmegaConf.create(preset), resolve=True)
    config |= {"dim": wanted.hidden_dim, "history": wanted.sequence_length}
    config["encoders"]["state"]["gripper"] = "width" if wanted.gripper_width else "one_hot"
    config["encoders"]["cameras"]["queries"] = wanted.num_resampler_query
    config["backbone"] |= {"layers": wanted.transformer_layers, "heads": wanted.transformer_heads}
    foreseen = {"queries": wanted.num_obs_token_per_image, "horizon": wanted.future_steps}
    config["world_model"] = config["world_model"] | foreseen if wanted.obs_pred else None
    config["action_head"]["chunk"] = wanted.action_pred_steps
    if wanted.atten_goal:
        config["reads"]["foresight"]["state"] = wanted.atten_goal
    if wanted.atten_only_obs:
        state = {"state": "same"} if wanted.attn_robot_proprio_state else {}
        config["reads"]["action"] = {"images": "same", **state, "foresight": "same"}
    if wanted.mask_ratio:
        config["token_dropout"] = {"action": {"foresight": wanted.mask_ratio}}
    return config


def build(**flags: Any) -> ComposedPolicy:
    """A policy with initial weights, for :func:`load` to fill; it takes text features, not sentences."""
    config = configuration(**flags)
    config["encoders"]["text"]["tower"] = None
    contract = (contracts.libero if config["encoders"]["state"]["gripper"] == "width" else contracts.calvin)()
    policy: ComposedPolicy = build_policy(config, contract, {})
    return policy.eval()


def load(policy: ComposedPolicy, state_dict: Mapping[str, Tensor]) -> None:
    """Fill ``policy`` with weights under their released names, ``vision_encoder.*`` included, ``module.`` or not.

    A policy without foresight leaves foresight's weights aside. Raises :class:`CheckpointError` that names what is
    missing, unexpected or of another shape; then nothing was filled.
    """
    offered = {name.removeprefix(PREFIX): tensor for name, tensor in state_dict.items()}
    offered = {name: tensor for name, tensor in offered.items() if not _aside(name, policy)}
    mine = released_weights(policy)
    # Compared in the released layout, so that the names are those of the file.
    needed = {name: torch.empty(released_shape(name, tensor.shape), device="meta") for name, tensor in mine.items()}
    if listing := state_dict_mismatch(offered, needed):
        raise CheckpointError(
            f"These weights do not fit this Seer:\n{listing}\nBuild it with the flags that they were trained with."
        )
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(offered[name].view_as(tensor))


def _aside(name: str, policy: ComposedPolicy) -> bool:
    if UNUSED.match(name):
        return True
    with contextlib.suppress(KeyError):
        return policy.world_model is None and str(our_name(name, cameras_of(policy))).startswith("world_model.")
    return False


def cameras_of(policy: ComposedPolicy) -> tuple[str, str]:
    """The policy's names of the primary and the wrist camera."""
    encoder: Any = policy.encoders["cameras"]
    primary, wrist = encoder.cameras
    return primary, wrist


def released_weights(policy: ComposedPolicy) -> dict[str, Tensor]:
    """The weights of ``policy`` by their released names, the vision encoder's included, the text tower's not."""
    return {
        released_name(name, cameras_of(policy)): tensor
        for name, tensor in policy.state_dict().items()
        if not name.startswith(("normalize_", "encoders.text.tower."))
    }


@torch.no_grad()
def predict(
    policy: ComposedPolicy, image_primary: Tensor, image_wrist: Tensor, state: Tensor, text_feature: Tensor
) -> Output:
    """The outputs of ``policy`` at every timestep of windows.

    Images are (B, T, 3, 224, 224), states (B, T, 7 or 8), text features (B, 512).
    """
    images = zip(cameras_of(policy), (image_primary, image_wrist), strict=True)
    seen = {f"images.{camera}": image.movedim(2, -1) for camera, image in images}
    readouts = policy.readouts({**seen, "state": state, "instruction": text_feature})
    assert policy.action_head is not None
    actions = _with_probabilities(policy.action_head(readouts["action"]))
    foresight = policy.world_model(readouts["foresight"]) if policy.world_model else None
    return Output(actions[..., :6], actions[..., 6:], foresight)


class StreamingRunner:
    """Inference for one robot, frame by frame. A new text feature begins a new episode, as :meth:`reset` does."""

    def __init__(self, policy: ComposedPolicy, ensemble: bool) -> None:
        self.policy = policy
        self._execution = BinaryGripper(TemporalEnsemble() if ensemble else RecedingHorizon(), policy.contract)
        self.reset()

    def reset(self) -> None:
        """Discard the frames and the actions predicted from them."""
        self._session = self.policy.open("")
        self._text: Tensor | None = None
        self._execution.reset()

    def step(
        self, image_primary: Tensor, image_wrist: Tensor, state: Tensor, text_feature: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The newest frame: images (3, 224, 224), state (7 or 8), text (512), with any leading axes of size 1.

        Returns the chunk (H, 7) with the gripper's probabilities, and the action (7) to carry out now, its gripper -1 or
        1: the chunk's first, or the ensemble of all recent chunks' actions for this step.
        """
        text = torch.as_tensor(text_feature).flatten()
        if self._text is None or not torch.equal(text, self._text):
            self.reset()
            self._session = self.policy.open(text)  # type: ignore[arg-type]  # features stand for a sentence
            self._text = text
        frames = zip(cameras_of(self.policy), (image_primary, image_wrist), strict=True)
        seen = Observation(
            {camera: _one_image(image) for camera, image in frames},
            np.asarray(torch.as_tensor(state, dtype=torch.float32).flatten()),
            0.0,
        )
        (answer,) = self.policy.step([self._session], [seen])
        self._execution.add(answer.actions)
        chunk = _with_probabilities(torch.from_numpy(answer.actions))
        return chunk, torch.from_numpy(self._execution.next_action())


def stream(policy: ComposedPolicy, ensemble: bool = False) -> StreamingRunner:
    """Run ``policy`` frame by frame; ``ensemble`` averages recent chunks, weighted exp(-0.01·i) from the oldest."""
    return StreamingRunner(policy, ensemble)


def _with_probabilities(actions: Tensor) -> Tensor:
    """(..., 7) actions with the gripper in [-1, 1] → with its probability."""
    return torch.cat([actions[..., :6], (actions[..., 6:] + 1) / 2], dim=-1)


def _one_image(image: Tensor) -> Any:
    """(…, 3, H, W) → (H, W, 3)."""
    image = torch.as_tensor(image)
    return np.ascontiguousarray(image.reshape(image.shape[-3:]).movedim(0, -1))
