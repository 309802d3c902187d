"""The check of dataset sources passes the plainest honest one, and names what is wrong with each bad one."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forehand.conformance import assert_dataset_conforms
from forehand.conformance.example import CONTRACT
from forehand.contracts.sensor import VECTOR, Sensor
from forehand.data.episode_table import EpisodeTable
from forehand.data.source import Column, DataSource, Pictures
from forehand.errors import DatasetError

N = 7
SENSED = replace(CONTRACT, sensors=(Sensor("force", VECTOR, (3,), "float32"),))


@dataclass(frozen=True)
class Noise(Pictures):
    """Frame i is noise of seed i."""

    key: str
    root: Path = Path("/memory")
    total: int = N
    height: int = 48

    def read(self, numbers):
        return np.stack([self.draw(int(n)) for n in numbers])

    def draw(self, number):
        return np.random.default_rng([number, len(self.key)]).integers(0, 256, (self.height, 48, 3), np.uint8)

    def digest(self):
        return f"noise of {self.key}"


class PlainSource(DataSource):
    """Two episodes, of 4 and 3 frames."""

    root = Path("/memory")
    contract = SENSED
    fingerprint = "memory"

    @property
    def episodes(self):
        return EpisodeTable(
            states=np.arange(N * 7, dtype=np.float32).reshape(N, 7),
            actions=np.zeros((N, 7), np.float32),
            episode=np.array([0, 0, 0, 0, 1, 1, 1]),
            end=np.array([4, 4, 4, 4, 7, 7, 7]),
            instructions=np.zeros(N, np.int64),
            tasks=("lift it",),
            has_action=np.ones(N, bool),
        )

    def pictures(self, camera):
        if camera not in ("static", "wrist"):
            raise DatasetError(f"no camera {camera!r}")
        return Noise(camera)

    def sensor(self, sensor, cache=None):
        return np.zeros((N, *sensor.full_shape), sensor.dtype)

    def image_statistics(self, camera):
        if camera not in ("static", "wrist"):
            raise KeyError(camera)
        return {"mean": np.full(3, 0.5), "std": np.ones(3), "min": np.zeros(3), "max": np.ones(3), "count": np.array([N])}


def test_the_plainest_source_conforms():
    assert_dataset_conforms(PlainSource)


class Chosen(PlainSource):
    """Frames of a longer recording."""

    frame_numbers = np.arange(N) * 2

    def pictures(self, camera):
        return replace(super().pictures(camera), total=3 * N)


def test_a_source_of_chosen_frames_conforms():
    assert_dataset_conforms(Chosen)


def altered(**changes: Any) -> type[PlainSource]:
    """A source with other values in its table."""

    class Altered(PlainSource):
        @property
        def episodes(self):
            return replace(super().episodes, **changes)

    return Altered


def pictured(kind: type[Noise] = Noise, **fields: Any) -> type[PlainSource]:
    """A source with other pictures."""

    class Pictured(PlainSource):
        def pictures(self, camera):
            return kind(super().pictures(camera).key, **fields)

    return Pictured


class OneDigest(Noise):
    def digest(self):
        return "noise"


class NewDigest(Noise):
    def digest(self):
        return f"{self.key} {next(once)}"


class InOrder(Noise):
    def read(self, numbers):
        return super().read(np.sort(numbers))


class AllAtOnce(Noise):
    def blocks(self, first=0, last=None):
        yield np.arange(N), self.read(np.arange(N))


class Locked(Noise):
    def __getstate__(self):
        raise TypeError("a lock cannot be pickled")


class Renamed(PlainSource):
    opened = 0

    def __init__(self):
        Renamed.opened += 1
        self.fingerprint = f"opened {Renamed.opened}"


class Unnamed(PlainSource):
    def pictures(self, camera):
        return Noise(camera)


class Percent(PlainSource):
    def image_statistics(self, camera):
        return {**super().image_statistics(camera), "max": np.full(3, 255.0)}


class Short(PlainSource):
    def sensor(self, sensor, cache=None):
        return super().sensor(sensor)[1:]


class Wordy(PlainSource):
    columns = {"success": Column(1, per_episode=True)}  # noqa: RUF012

    def column(self, name):
        return np.zeros((N, 1))


class NoAction(PlainSource):
    contract = replace(SENSED, action=())

    @property
    def episodes(self):
        return replace(super().episodes, actions=np.zeros((N, 0), np.float32))


once = iter(range(10**6))


@pytest.mark.parametrize(
    ("bad", "promise"),
    [
        (dict, "makes a dict, which is no forehand.data.source.DataSource"),
        (altered(states=np.zeros((N, 7))), r"episodes\.states must be \(7, 7\) float32 .*; it is \(7, 7\) float64"),
        (altered(states=np.zeros((N, 6), np.float32)), r"episodes\.states must be \(7, 7\) float32"),
        (altered(states=np.full((N, 7), np.nan, np.float32)), r"states holds numbers that are not finite"),
        (altered(end=np.array([4, 4, 4, 4, 6, 6, 6])), "end is 6 at frame 4, whose episode 1 ends before frame 7"),
        (altered(episode=np.array([0, 0, 1, 1, 0, 0, 0])), "the frames of an episode must follow each other"),
        (altered(instructions=np.ones(N, np.int64)), "instructions goes from 1 to 1, and there are 1 tasks"),
        (altered(tasks=["lift it"]), "tasks must be a tuple of sentences"),
        (NoAction, "has_action is set, and the contract has no action"),
        (Renamed, "fingerprint differs when the source is opened again"),
        (pictured(OneDigest), "two cameras have the same digest"),
        (pictured(NewDigest), "digest of camera 'static' differs"),
        (pictured(height=24), r"camera 'static': 5 images must be \(5, 48, 48, 3\) uint8"),
        (pictured(total=6), "camera 'static' has 6 images, and 7 frames are due"),
        (pictured(InOrder), "the same whatever the order"),
        (pictured(AllAtOnce), r"blocks\(3, 5\) gave"),
        (pictured(Locked), "cannot be given to another process: a lock cannot be pickled"),
        (Percent, "levels go from 0 to 1"),
        (Short, "sensor 'force' has 6 frames, and 7 are due"),
        (Wordy, r"column 'success' must be \(2, 1\) as columns has it; it is \(7, 1\)"),
        (Unnamed, r"pictures\(\) of an unknown name must raise DatasetError"),
    ],
)
def test_a_broken_promise_is_named(bad: type[Any], promise: str):
    with pytest.raises(AssertionError, match=promise):
        assert_dataset_conforms(bad)
