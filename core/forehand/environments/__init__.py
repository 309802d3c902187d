"""Environments of simulators: what each needs, and Python environments made from that, apart from this one. No torch."""

from forehand.environments.location import environments_folder, find
from forehand.environments.made import MadeEnvironment
from forehand.environments.specification import EnvironmentSpec

__all__ = ["EnvironmentSpec", "MadeEnvironment", "environments_folder", "find"]
