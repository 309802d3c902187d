"""An importer of numbered gray pictures, so that every written frame tells where it came from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from forehand import Camera, Contract, Field, registry
from forehand.data.importing.importer import EpisodeContent, EpisodeDropped, Importer, SourceEpisode, Step
from forehand.data.importing.statements import Statements
from forehand.errors import DatasetError


def pixels(level: int, height: int = 32) -> np.ndarray:
    return np.full((height, 48, 3), level, np.uint8)


FAULTS = {
    "nan": Step({"static": pixels(0)}, np.array([np.nan]), np.array([0])),
    "words": Step({"static": pixels(0)}, np.array(["a"]), np.array([0])),
    "low": Step({"static": pixels(0, 30)}, np.array([0]), np.array([0])),
    "flat": Step({"static": pixels(0)[0]}, np.array([0]), np.array([0])),
    "blind": Step({}, np.array([0]), np.array([0])),
    "wide": Step({"static": pixels(0)}, np.array([0, 0]), np.array([0])),
    "huge": Step({"static": pixels(0)}, np.array([0]), np.array([1e300])),
    "torn": Step({"static": b"no picture"}, np.array([0]), np.array([0])),
}


def broken(word: str) -> Iterator[Step]:
    """One good step, and then one with the fault that ``word`` names, or an error that nobody expects."""
    yield Step({"static": pixels(0)}, np.array([0]), np.array([0]))
    yield FAULTS[word]


class GrayImporter(Importer):
    """One text file: a line for each episode, with its number of frames, or a word about what is wrong with it."""

    def __init__(
        self, source: str, rate: float | None = None, sense: str | None = None, height: int = 32, width: int = 48
    ) -> None:
        self.statements = Statements("gray")
        rate = self.statements.ask("rate", rate, "control steps a second, in Hz")
        gripper = self.statements.ask("sense", sense, "what a larger number of the gripper means", ("open", "closed"))
        self.statements.know("pictures", "gray levels", "definition of the format")
        self.statements.require()
        self.contract = Contract(
            (Camera("static", height, width),), (Field("x", 1, unit="m"),), (Field("gripper", 1, gripper=gripper),), rate
        )
        self._file = Path(source)
        self._lines = self._file.read_text().split()
        self.dropped = {f"line {i}": "marked so" for i, line in enumerate(self._lines) if line == "marked"}

    def episodes(self) -> Sequence[SourceEpisode]:
        lines = [(i, line) for i, line in enumerate(self._lines) if line != "marked"]
        return [SourceEpisode(f"line {i}", int(word) if word.isdigit() else None, i) for i, word in lines]

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        word = self._lines[episode.about]
        if word == "failed":
            raise EpisodeDropped("it failed")
        if word == "damaged":
            raise DatasetError(f"{self._file} has a damaged line {episode.about}")
        if not word.isdigit():
            return EpisodeContent(broken(word))
        first = 10 * episode.about
        steps = [Step({"static": pixels(first + i)}, np.array([first + i]), np.array([i % 2])) for i in range(int(word))]
        return EpisodeContent(steps, f"sentence {episode.about % 2}", {"line": episode.about}, {"dull": episode.about})

    def files(self) -> Sequence[Path]:
        return [self._file]


@pytest.fixture(autouse=True)
def _gray_importer() -> None:
    if not any(part.name == "gray" for part in registry().parts("importer")):
        registry().add("importer", "gray", GrayImporter, "gray pictures with numbers")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six episodes, of which one is marked, one failed."""
    path = tmp_path / "lines.txt"
    path.write_text("3\n2\nmarked\nfailed\n4\n1\n")
    return path
