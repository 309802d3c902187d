"""``forehand env remove``: remove an environment."""

from __future__ import annotations

from omegaconf import DictConfig

from forehand.environments.location import folder_of
from forehand.environments.make import remove


def env_remove(config: DictConfig) -> None:
    """Remove the environment ``config.name``, of a plugin that is installed or of one that was."""
    folder = folder_of(str(config.name), config.folder)
    remove(folder)
    print(f"removed {folder}")
