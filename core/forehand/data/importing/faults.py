"""Faults of a source's episodes: one place that says which episode and step could not be read, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from forehand.data.importing.importer import EpisodeDropped
from forehand.errors import ConfigurationError, DatasetError, describe

REMEDY = "Correct the source, or leave out all such episodes, by name, with damaged=drop."


class EpisodeDamaged(DatasetError):
    """An episode that cannot be read as its contract says. reason: the step, and what is wrong with it."""

    def __init__(self, episode: str, step: int | None, fault: str) -> None:
        where = f"Episode {episode}" if step is None else f"Episode {episode}, step {step}"
        super().__init__(f"{where}: {fault.rstrip('.')}. {REMEDY}")
        self.reason = fault if step is None else f"step {step}: {fault}"


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
