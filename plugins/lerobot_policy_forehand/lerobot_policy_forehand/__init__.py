"""What LeRobot finds of Forehand: its policy type ``forehand_remote``, its environment types ``forehand_tabletop…``."""

from lerobot_policy_forehand.configuration_forehand_remote import ForehandRemoteConfig
from lerobot_policy_forehand.environment import ForehandTabletopChainsEnv, ForehandTabletopEnv

__all__ = ["ForehandRemoteConfig", "ForehandTabletopChainsEnv", "ForehandTabletopEnv"]
