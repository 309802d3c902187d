"""LeRobot configuration of a remote policy: ``--policy.type=forehand_remote --policy.address=…``."""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.configs import NormalizationMode, PreTrainedConfig


@PreTrainedConfig.register_subclass("forehand_remote")
@dataclass
class ForehandRemoteConfig(PreTrainedConfig):
    """The policy behind ``forehand serve``.

    address: of the server. timeout: seconds that an answer may take. cameras: the served policy's camera → LeRobot's key,
    by default ``observation.images.<camera>``. state: LeRobot's keys whose numbers make the state vector. resize: scale
    pictures to the served policy's size instead of refusing other sizes. n_action_steps: how many actions of each answer
    are carried out before the next request; 1 for a policy with history, which needs the observation of every step.
    """

    address: str = "tcp://127.0.0.1:5555"
    timeout: float = 10.0
    cameras: dict[str, str] = field(default_factory=dict)
    state: list[str] = field(default_factory=lambda: ["observation.state"])
    resize: bool = False
    n_action_steps: int = 1
    # The server normalizes.
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None

    def get_optimizer_preset(self) -> None:
        raise NotImplementedError("A served policy is not trained from here: use forehand train where it is served.")

    def get_scheduler_preset(self) -> None:
        return None

    def validate_features(self) -> None:
        """Nothing to look at: what comes is compared with the served policy's contract at the first step."""
