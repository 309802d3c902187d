"""LeRobot plugin: policy types ``forehand`` and ``forehand_remote``, and environment types ``forehand_tabletop…``."""

from lerobot_policy_forehand.configuration_forehand import ForehandConfig
from lerobot_policy_forehand.configuration_forehand_remote import ForehandRemoteConfig
from lerobot_policy_forehand.environment import ForehandTabletopChainsEnv, ForehandTabletopEnv

__all__ = ["ForehandConfig", "ForehandRemoteConfig", "ForehandTabletopChainsEnv", "ForehandTabletopEnv"]
