"""Checkpoints to a hub repository, with their card and evaluations, and back."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forehand import __version__
from forehand.errors import CheckpointError
from forehand.evaluation.results import RESULTS, TABLE, EvaluationRecord
from forehand.learning.checkpoint import read_checkpoint
from forehand.learning.checkpoint_reader import reader_of
from forehand.learning.hub import HubRepository, hub_errors, locate_checkpoint
from forehand.learning.weights import TRAINING_STATE
from forehand.sharing.card import CARD, MARK
from forehand.sharing.evaluations import EVALUATIONS

DEFAULT_BRANCH = "main"
_GIT = ".gitattributes"
_TENSORS = re.compile(r"[^/]+\.safetensors")


@dataclass(frozen=True)
class Pushed:
    """What a push left on the hub: the page's ``url``, the ``commit``, and whether the repository is ``private``.

    own_card: the repository's card was written by its owner, and stayed.
    """

    url: str
    commit: str
    private: bool
    own_card: bool


def files_to_push(
    checkpoint: Path, evaluations: Sequence[EvaluationRecord] = (), training_state: bool = False
) -> dict[str, Path]:
    """The files of a checkpoint and of its evaluations, by their names in the repository; videos stay behind."""
    read_checkpoint(checkpoint)
    left = {CARD} if training_state else {CARD, TRAINING_STATE}
    mine = [path for path in sorted(checkpoint.iterdir()) if path.is_file() and path.name not in left]
    files = {path.name: path for path in mine if not path.name.startswith(".")}
    for record in evaluations:
        name, number = record.folder.absolute().name, 1
        while f"{EVALUATIONS}/{name}/{RESULTS}" in files:
            number += 1
            name = f"{record.folder.absolute().name}-{number}"
        found = [file for file in (RESULTS, TABLE) if (record.folder / file).is_file()]
        files |= {f"{EVALUATIONS}/{name}/{file}": record.folder / file for file in found}
    return files


def push_checkpoint(
    files: Mapping[str, Path], repository: HubRepository, card: str, *, private: bool = True, message: str | None = None
) -> Pushed:
    """Put ``files`` and the ``card`` into ``repository`` as one commit, onto its revision, a branch, where one is named.

    A repository that does not exist is made, ``private`` or public; one that does keeps its visibility, and a card that
    its owner wrote. Files of an earlier push that are no more are removed. A push that stopped continues with what is
    missing. Raises :class:`CheckpointError`.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="forehand", library_version=__version__)
    name, branch = repository.name, repository.revision or DEFAULT_BRANCH
    with hub_errors(f"{repository} could not be written"):
        api.create_repo(name, private=private, exist_ok=True)
        if branch != DEFAULT_BRANCH:
            api.create_branch(name, branch=branch, exist_ok=True)
        info = api.model_info(name, revision=branch)
        there = {entry.rfilename for entry in info.siblings or []}
        own_card = CARD in there and _is_own(api.hf_hub_download(name, CARD, revision=branch))
        stale = {file for file in there - set(files) if _TENSORS.fullmatch(file) or file.startswith(f"{EVALUATIONS}/")}
        commit = api.create_commit(
            name,
            [
                *(CommitOperationAdd(file, path) for file, path in files.items()),
                *([] if own_card else [CommitOperationAdd(CARD, card.encode())]),
                *(CommitOperationDelete(file, is_folder=False) for file in sorted(stale)),
            ],
            commit_message=message or "A checkpoint of Forehand",
            revision=branch,
        )
    return Pushed(f"{api.endpoint}/{name}", commit.oid, bool(info.private), own_card)


def pull_checkpoint(repository: HubRepository, output: Path, *, training_state: bool = False) -> Path:
    """Copy the checkpoint in ``repository`` to a new folder ``output``, which appears whole or not at all.

    training_state: with the optimizer's state, if the repository has it. Raises :class:`CheckpointError`.
    """
    if output.exists():
        raise CheckpointError(f"{output} exists; checkpoints are never overwritten. Remove it or choose another output.")
    source = locate_checkpoint(str(repository), training_state=training_state)
    if reader_of(source) is None:
        read_checkpoint(source)
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        left = (_GIT,) if training_state else (_GIT, TRAINING_STATE)
        shutil.copytree(source, staging, copy_function=shutil.copyfile, dirs_exist_ok=True, ignore=lambda *_: left)
        staging.chmod(0o755)
        staging.rename(output)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return output


def _is_own(card: str) -> bool:
    return MARK not in Path(card).read_text(encoding="utf-8")
