"""The decoder against messages damaged on purpose: each is a message or a ProtocolError, quickly, and memory is flat.

    python performance/wire_fuzz.py [--messages 1000000] [--seed 0]

Each message begins as a good one, a header of random values, or noise, and is then cut, flipped, reordered or repeated.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections import Counter
from collections.abc import Callable

import msgpack
import numpy as np

from forehand.wire import ProtocolError
from forehand.wire.jpeg import AVAILABLE
from forehand.wire.messages import DTYPES, PREFIX, Message, decode, encode

SLOW = 1.0
"""Seconds; a message that takes longer counts as a hang."""

Frames = list[bytes]


def good_messages() -> list[Frames]:
    """What really travels."""
    picture = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    observation = {"images": {"static": picture, "wrist": picture}, "state": np.ones(7, np.float32), "time": 1.0}
    payloads = [
        {},
        {"observation": observation, "forecast": True},
        {"actions": np.zeros((3, 7), np.float32), "timing": {"queued": 0.1, "batch": 3}},
        {"contract": {"cameras": [{"name": "static", "height": 16}], "rate": 15.0}, "heartbeat": 0.5},
        {"arrays": [np.zeros(2, dtype) for dtype in DTYPES.values()]},
    ]
    qualities = [None, 90] if AVAILABLE else [None]
    return [[bytes(f) for f in encode(Message("step", 5, p, "abc", 1.0), q)] for p in payloads for q in qualities]


def value(chance: random.Random, depth: int = 0) -> object:
    """Anything that msgpack can say."""
    size = chance.randrange(4) if depth < 4 else 0
    makers: list[Callable[[], object]] = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.choice([0, 1, -1, 2**63 - 1, 2**64 - 1, -(2**63), chance.randrange(-9, 99)]),
        lambda: chance.choice([0.0, float("nan"), float("inf"), 1e300, chance.random()]),
        lambda: chance.choice(["", "step", "static", "ü" * size, "kind"]),
        lambda: chance.randbytes(size),
        lambda: [value(chance, depth + 1) for _ in range(size)],
        lambda: {chance.choice(["a", "images", 3, ""]): value(chance, depth + 1) for _ in range(size)},
        lambda: msgpack.ExtType(chance.randrange(5), chance.randbytes(size)),
        lambda: placeholder(chance),
    ]
    return chance.choice(makers)()


def placeholder(chance: random.Random) -> msgpack.ExtType:
    """Of an array or a picture that may or may not be there."""
    shape = [chance.choice([0, 1, 2, 3, 4, 2**31, 2**63]) for _ in range(chance.randrange(10))]
    content: list[object] = [chance.randrange(-1, 4), chance.choice([*DTYPES, "object", ""]), shape]
    return msgpack.ExtType(
        chance.choice([1, 1, 2]), msgpack.packb(content if chance.random() < 0.8 else value(chance, 3))
    )


def invented(chance: random.Random) -> Frames:
    """A header of the right form with any content."""
    header = {
        "kind": "step",
        "id": 7,
        "session": None,
        "budget": 1.0,
        "payload": {"a": value(chance), "b": value(chance)},
    }
    if chance.random() < 0.3:
        header[chance.choice([*header, "more"])] = value(chance)
    return [
        PREFIX + msgpack.packb(header),
        *(chance.randbytes(chance.choice([0, 1, 4, 8])) for _ in range(chance.randrange(4))),
    ]


def damaged(chance: random.Random, frames: Frames) -> Frames:
    """``frames`` with a few accidents."""
    frames = list(frames)
    for _ in range(chance.randrange(4)):
        if not frames:
            break
        which = chance.randrange(len(frames))
        accident = chance.randrange(6)
        if accident == 0 and frames[which]:
            bytes_ = bytearray(frames[which])
            for _ in range(chance.randrange(1, 5)):
                bytes_[chance.randrange(len(bytes_))] = chance.randrange(256)
            frames[which] = bytes(bytes_)
        elif accident == 1:
            frames[which] = frames[which][: chance.randrange(len(frames[which]) + 1)]
        elif accident == 2:
            frames.insert(which, chance.choice(frames))
        elif accident == 3:
            del frames[which]
        elif accident == 4:
            chance.shuffle(frames)
        else:
            frames[which] += chance.randbytes(chance.randrange(1, 9))
    return frames


def fuzz(count: int, seed: int) -> tuple[Counter[str], float, int]:
    """Outcomes by name, seconds of the slowest message, and KiB by which the memory's peak grew after the first tenth."""
    chance = random.Random(seed)
    good = good_messages()
    outcomes: Counter[str] = Counter()
    slowest, settled = 0.0, 0
    for number in range(count):
        source = chance.randrange(8)
        if source == 0:
            frames = [chance.randbytes(chance.randrange(40)) for _ in range(chance.randrange(5))]
        else:
            frames = damaged(chance, invented(chance) if source < 4 else chance.choice(good))
        started = time.perf_counter()
        try:
            decode(frames)
            outcomes["message"] += 1
        except ProtocolError as error:
            outcomes[type(error).__name__] += 1
        slowest = max(slowest, time.perf_counter() - started)
        if number == count // 10:
            settled = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return outcomes, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - settled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    outcomes, slowest, grown = fuzz(options.messages, options.seed)
    print(f"{options.messages} messages, seed {options.seed}, {time.monotonic() - started:.0f} s: {dict(outcomes)}")
    print(f"slowest {slowest * 1e3:.1f} ms, memory's peak grew by {grown} KiB after the first tenth")
    assert slowest < SLOW, "a message that takes this long is a hang"
    assert grown < 16 * 1024, "memory is not flat"


if __name__ == "__main__":
    main()
