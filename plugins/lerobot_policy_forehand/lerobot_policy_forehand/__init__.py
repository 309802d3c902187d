"""What LeRobot finds of Forehand: the policy type ``forehand_remote`` and the environment type ``forehand_tabletop``."""

from lerobot_policy_forehand.configuration_forehand_remote import ForehandRemoteConfig
from lerobot_policy_forehand.environment import ForehandTabletopEnv

__all__ = ["ForehandRemoteConfig", "ForehandTabletopEnv"]
