"""``forehand pull``: a checkpoint from a repository on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from forehand.learning.hub import HubRepository
from forehand.sharing.repository import pull_checkpoint


def pull(config: DictConfig) -> None:
    """Copy the checkpoint in ``config.repo`` to ``config.output``."""
    repository = HubRepository.parse(config.repo)
    folder = pull_checkpoint(repository, Path(config.output).expanduser(), training_state=config.training_state)
    Console(stderr=True).print(
        f"{repository} is in {folder}. Serve it with: [bold]forehand serve policy.checkpoint={folder}[/]", soft_wrap=True
    )
