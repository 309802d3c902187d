"""Robots come and go, some without a word: memory stays flat and no session is left behind.

    python performance/wire_soak.py [--seconds 3600] [--robots 8] [--pause 0.005]

Each robot connects, opens a session, takes some steps, and then closes it, forgets to, or drops its connection. One that
gets an error (on a machine that stands still for a while) is counted as interrupted, and the next one comes.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from forehand import Camera, Contract, Field, Observation, Policy, Prediction, Session
from forehand.errors import ForehandError
from forehand.wire import PolicyClient, PolicyServer

CONTRACT = Contract((Camera("static", 128, 128),), (Field("pose", 7),), (Field("pose", 7),), 15.0)
SEEN = Observation({"static": np.zeros((128, 128, 3), np.uint8)}, np.zeros(7, np.float32), 0.0)


class InstantPolicy(Policy):
    """Answers without looking."""

    contract = CONTRACT

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        return [Prediction(np.zeros((3, 7), np.float32)) for _ in sessions]


def resident() -> int:
    """KiB of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def come_and_go(address: str, end: float, seed: int, pause: float, partings: Counter[str]) -> None:
    """One robot after another."""
    chance = random.Random(seed)
    while time.monotonic() < end:
        with PolicyClient(address, timeout=10.0) as client:
            try:
                partings[visit(client, chance, pause)] += 1
            except ForehandError:
                partings["interrupted"] += 1


def visit(client: PolicyClient, chance: random.Random, pause: float) -> str:
    """One robot from its coming to its going; how it went."""
    session = client.open("push", CONTRACT)
    for _ in range(chance.randrange(1, 20)):
        session.step(SEEN)
        time.sleep(pause)
    parting = chance.choice(["closed", "forgotten", "dropped"])
    if parting == "closed":
        session.close()
    elif parting == "dropped":
        client.close()
        session.step(SEEN)  # on a new connection, which then goes away as well
    return parting


def soak(seconds: float, robots: int, pause: float = 0.005) -> tuple[Counter[str], int, int, int]:
    """Partings by kind; KiB of growth after the first third; sessions and clients left once absences are over."""
    partings: Counter[str] = Counter()
    server = PolicyServer(InstantPolicy(), "tcp://127.0.0.1:0", disconnect_timeout=1.0)
    with server.running():
        started = time.monotonic()
        workers = [
            threading.Thread(target=come_and_go, args=(server.address, started + seconds, n, pause, partings))
            for n in range(robots)
        ]
        for worker in workers:
            worker.start()
        time.sleep(seconds / 3)
        settled = resident()
        while (left := started + seconds - time.monotonic()) > 0:
            print(
                f"{sum(partings.values())} came and went, {resident()} KiB, {len(server._sessions)} sessions", flush=True
            )
            time.sleep(min(left, seconds / 12))
        for worker in workers:
            worker.join()
        grown = resident() - settled
        patience = time.monotonic() + 30
        while (server._sessions or server._clients) and time.monotonic() < patience:
            time.sleep(0.1)
        return partings, grown, len(server._sessions), len(server._clients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--robots", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between a robot's steps")
    options = parser.parse_args()
    partings, grown, sessions, clients = soak(options.seconds, options.robots, options.pause)
    print(f"{options.seconds:g} s: {sum(partings.values())} robots came and went, {dict(partings)}")
    print(f"memory grew by {grown} KiB after the first third; {sessions} sessions and {clients} clients are left")
    assert (sessions, clients) == (0, 0), "sessions or clients leak"
    assert grown < 16 * 1024, "memory is not flat"


if __name__ == "__main__":
    main()
