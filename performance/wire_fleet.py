"""A fleet at its control rate: how many deadlines are missed, and whether one client that floods costs the others any.

    python performance/wire_fleet.py [--robots 16] [--rate 15] [--seconds 600] [--flood]

Server, fleet and flooding client are three processes. A robot's deadline is its control period: an answer that takes
longer is missed. An instant policy, two 128² uint8 images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np
import zmq

from forehand import Camera, Contract, Field, Observation, Policy, Prediction, Session
from forehand.errors import ForehandError
from forehand.wire import PolicyClient, PolicyServer
from forehand.wire.messages import Message, decode, encode
from forehand.wire.serialize import observation_to_payload

CONTRACT = Contract(
    cameras=(Camera("static", 128, 128), Camera("wrist", 128, 128)),
    state=(Field("pose", 7),),
    action=(Field("pose", 7),),
    rate=15.0,
)
SEEN = Observation(
    {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras}, np.zeros(7, np.float32), 0.0
)


class InstantPolicy(Policy):
    """Answers without looking."""

    contract = CONTRACT

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        return [Prediction(np.zeros((3, 7), np.float32)) for _ in sessions]


def serve() -> None:
    server = PolicyServer(InstantPolicy(), "tcp://127.0.0.1:0")
    print(server.address, flush=True)
    server.run()


def flood(address: str) -> None:
    """Ask as fast as the socket takes it, and never wait for an answer."""
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        socket.connect(address)
        identifier = 2
        socket.send_multipart(encode(Message("hello", 1, {"contract": None}, None, 10.0)))
        opening = {"instruction": "flood", "contract": CONTRACT.to_dict()}
        socket.send_multipart(encode(Message("open", 2, opening, None, 10.0)))
        answers = [decode(socket.recv_multipart()) for _ in range(2)]
        payload = {"observation": observation_to_payload(SEEN), "forecast": False}
        while True:
            identifier += 1
            socket.send_multipart(encode(Message("step", identifier, payload, answers[1].payload["session"], 1.0)))
            while socket.poll(0):
                socket.recv_multipart()


def drive(address: str, rate: float, seconds: float, phase: float, taken: list[float], failed: list[str]) -> None:
    """One robot: a step every period, for so long."""
    with PolicyClient(address, timeout=1.0) as client:
        session = client.open("push", CONTRACT)
        due = time.monotonic() + phase
        end = due + seconds
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            asked = time.monotonic()
            try:
                session.step(SEEN)
            except ForehandError as error:
                failed.append(type(error).__name__)
            taken.append(time.monotonic() - asked)
            due = max(due + 1 / rate, time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", type=int, default=16)
    parser.add_argument("--rate", type=float, default=15.0, help="Hz")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--flood", action="store_true", help="one more client, that floods")
    parser.add_argument("--as", dest="role", choices=["serve", "flood"], help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "serve":
        return serve()
    if options.role == "flood":
        return flood(options.address)

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)

    children = [start("--as", "serve")]
    try:
        assert children[0].stdout
        address = children[0].stdout.readline().strip()
        if options.flood:
            children.append(start("--as", "flood", "--address", address))
            time.sleep(1.0)
        taken: list[float] = []
        failed: list[str] = []
        period = 1 / options.rate
        robots = [
            threading.Thread(
                target=drive, args=(address, options.rate, options.seconds, n * period / options.robots, taken, failed)
            )
            for n in range(options.robots)
        ]
        for robot in robots:
            robot.start()
        for robot in robots:
            robot.join()
    finally:
        for child in children:
            child.kill()
            child.wait()
    median, p99, worst = np.percentile(taken, [50, 99, 100]) * 1e3
    missed = sum(one > period for one in taken)
    print(f"{options.robots} robots at {options.rate:g} Hz for {options.seconds:g} s, {os.cpu_count()} CPUs", end="")
    print(", one client floods" if options.flood else "", end="")
    print(f": {len(taken)} steps, {missed} missed ({period * 1e3:.0f} ms), {len(failed)} failed {sorted(set(failed))}")
    print(f"median {median:.2f} ms, p99 {p99:.2f} ms, worst {worst:.2f} ms")


if __name__ == "__main__":
    main()
