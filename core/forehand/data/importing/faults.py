"""Faults of a source: which of its episodes cannot be read, at which step and why, and what is read in spite of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from forehand.data.importing.importer import EpisodeDropped, SourceEpisode
from forehand.errors import ConfigurationError, DatasetError, describe

REMEDY = "Correct the source, or leave out all such episodes, by name, with damaged=drop."

_NO_FAULTS = (EpisodeDropped, ConfigurationError, MemoryError)
_TRIED = 100


class EpisodeDamaged(DatasetError):
    """An episode that cannot be read as its contract says. reason: the step, and what is wrong with it."""

    def __init__(self, episode: str, step: int | None, fault: str) -> None:
        where = f"Episode {episode}" if step is None else f"Episode {episode}, step {step}"
        super().__init__(f"{where}: {fault.rstrip('.')}. {REMEDY}")
        self.reason = fault if step is None else f"step {step}: {fault}"


def require_listed(episode: SourceEpisode) -> None:
    """Raise :class:`EpisodeDamaged` for an episode whose fault is known before it is read."""
    if episode.fault is not None:
        raise EpisodeDamaged(episode.id, None, episode.fault)


class ReadingPlace:
    """Place in a source that is being read: the episode ``id``, and its ``step``, counted from 0, None before the first.

    ::

        place = ReadingPlace("demo.hdf5/demo_3")
        with place.explained():
            content = importer.read(episode)
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self.step: int | None = None

    @contextmanager
    def explained(self, *kinds: type[Exception]) -> Iterator[None]:
        """Raise :class:`EpisodeDamaged` for every error within the context, or for those of ``kinds``.

        Episodes that are left out on purpose, and options that cannot be, pass as they are. One that needs more memory
        than there is raises :class:`DatasetError`: that is no fault of the episode alone, so it is never left out.
        """
        try:
            yield
        except (EpisodeDropped, ConfigurationError):
            raise
        except MemoryError as error:
            raise DatasetError(
                f"Episode {self.id} does not fit into memory ({error}). Use fewer workers, or correct the shapes that "
                f"the source states."
            ) from error
        except kinds or (Exception,) as error:  # noqa: B030  (types, all of them)
            raise EpisodeDamaged(self.id, self.step, describe(error)) from error


def first_readable[Place, Value](places: Iterable[Place], read: Callable[[Place], Value]) -> tuple[Place, Value]:
    """The first of ``places`` that ``read`` can read, and what it makes of it: one that is damaged hides no other.

    For what is true of all episodes, such as the sizes of pictures. At most the first 100 places are tried, since an
    option that fits none of them fits no other. Raises the error of the first one where there is none.
    """
    first: Exception | None = None
    for place in itertools.islice(places, _TRIED):
        try:
            return place, read(place)
        except _NO_FAULTS:
            raise
        except Exception as error:
            first = first or error
    if first is None or isinstance(first, DatasetError):
        raise first or DatasetError("The source has no episodes. Correct source=….")
    raise DatasetError(f"The source cannot be read: {describe(first)}. {REMEDY}") from first


def listed(id: str, about: Any, episodes: Callable[[], Iterable[SourceEpisode]]) -> list[SourceEpisode]:
    """The ``episodes`` of one file of a source; where they cannot be listed, one that stands for them, by ``id``.

    That one has a fault, so it stops the import, or is left out, as any episode that is damaged.
    """
    try:
        return list(episodes())
    except _NO_FAULTS:
        raise
    except Exception as error:
        return [SourceEpisode(id, about=about, fault=describe(error))]
