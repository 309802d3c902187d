"""Checkpoints on the Hugging Face hub: ``hf://owner/name[@revision]`` wherever a checkpoint is taken.

The hub's own client does the work, so that its settings hold: ``HF_ENDPOINT``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE``, and
``HF_TOKEN`` or ``hf auth login`` for private repositories. No token passes through this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forehand.errors import CheckpointError, ConfigurationError, first_line
from forehand.learning.weights import TRAINING_STATE
from forehand.utils.hub_cache import cached_repository

SCHEME = "hf://"

_NAME = r"[A-Za-z0-9][\w.-]*"
_REPOSITORY = re.compile(rf"({_NAME}/{_NAME})(?:@([\w./-]+))?")


@dataclass(frozen=True)
class HubRepository:
    """Model repository on the hub: ``owner/name``, and a branch, tag or commit; None: its default branch."""

    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubRepository:
        """The repository that is written as ``text``, with or without ``hf://``; raises :class:`ConfigurationError`."""
        if not (found := _REPOSITORY.fullmatch(text.removeprefix(SCHEME))):
            raise ConfigurationError(
                f"{text!r} is no repository on the hub. Write owner/name, or owner/name@revision for a branch, tag or "
                f"commit."
            )
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"@{self.revision}" if self.revision else "")


def locate_checkpoint(source: str | Path, *, training_state: bool = False) -> Path:
    """The folder of a checkpoint that is given by path, or as ``hf://owner/name[@revision]``.

    The latter is fetched into the hub's cache, whole or on from where an earlier fetch stopped; training_state: with the
    optimizer's state, if the repository has it. Without a network the cached copy is taken. Raises
    :class:`CheckpointError`.
    """
    if not str(source).startswith(SCHEME):
        return Path(source).expanduser()
    repository = HubRepository.parse(str(source))
    from huggingface_hub import snapshot_download

    with hub_errors(f"{repository} could not be fetched"):
        found = snapshot_download(
            repository.name,
            revision=repository.revision,
            ignore_patterns=None if training_state else [TRAINING_STATE],
        )
    return Path(found)


def origin_of(folder: Path) -> str:
    """What a checkpoint's folder is called in records: ``hf://owner/name@commit`` in the hub's cache, else its path."""
    path = folder.resolve()
    if found := cached_repository(path, "models"):
        return str(HubRepository(*found))
    return str(path)


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Errors of the hub's client as :class:`CheckpointError`: ``what`` failed, why, and what to do."""
    import httpx
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    login = "Log in with `hf auth login`, or set HF_TOKEN."
    try:
        yield
    except GatedRepoError as error:
        raise CheckpointError(f"{what}: its owner grants access on request, on its page. {login}") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{what}: the hub has no such repository, or it is private and this account may not see it. Correct the "
            f"name. {login}"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{what}: the repository has no such branch, tag or commit.") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{what}: the hub cannot be reached (or HF_HUB_OFFLINE is set), and the cache holds no whole copy."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = login if status in (401, 403) else "Try again later."
        raise CheckpointError(f"{what}: the hub answered with status {status}. {advice}") from error
    except (httpx.HTTPError, EntryNotFoundError, ConnectionError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{what}: {type(error).__name__}: {first_line(error)}") from error
