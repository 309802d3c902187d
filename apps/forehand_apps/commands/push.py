"""``forehand push``: a checkpoint to a repository on the Hugging Face hub, with its card."""

from __future__ import annotations

from omegaconf import DictConfig
from rich.console import Console

from forehand.learning.checkpoint import find_checkpoint, read_checkpoint
from forehand.learning.hub import HubRepository
from forehand.sharing.card import CARD, model_card
from forehand.sharing.evaluations import evaluations_of
from forehand.sharing.repository import files_to_push, push_checkpoint
from forehand_apps.cli.paths import paths_of


def push(config: DictConfig) -> None:
    """Push ``config.checkpoint`` to ``config.repo``, or print what that would be."""
    console = Console(stderr=True, highlight=False)
    repository = HubRepository.parse(config.repo)
    folder = find_checkpoint(config.checkpoint, training_state=config.training_state)
    read_checkpoint(folder)
    evaluations = evaluations_of(folder, paths_of(config.evaluations))
    for record in evaluations:
        console.print(f"evaluation: {record.folder}, n={len(record.evaluation.lengths)}", soft_wrap=True, markup=False)
    if not evaluations:
        console.print("no evaluation of this checkpoint is known, and the card says so (evaluations=[…])", soft_wrap=True)
    files = files_to_push(folder, evaluations, config.training_state)
    card = model_card(folder, repository.name, evaluations, config.license)
    if config.dry_run:
        for name, path in files.items():
            console.print(f"{name}: {path.stat().st_size / 1e6:.3f} MB", soft_wrap=True, markup=False)
        print(card, end="")
        return
    pushed = push_checkpoint(files, repository, card, private=config.private, message=config.message)
    if pushed.own_card:
        console.print(f"{CARD} was written by its owner, and stays as it is", soft_wrap=True)
    console.print(
        f"{len(files)} files are in the {'private' if pushed.private else 'public'} repository {pushed.url}, "
        f"commit {pushed.commit}.",
        soft_wrap=True,
    )
    print(f"hf://{repository.name}@{pushed.commit}")
