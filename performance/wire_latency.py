"""Round trips on loopback with two 224² uint8 images and an instant policy, beside openpi's client and plain pickle.

    python performance/wire_latency.py [--steps 10000]

Servers run in processes of their own. All alternate in rounds, so that a busy machine is equally unkind to each. Pickle
over REQ/REP is a yardstick only: it executes what it receives, without sessions, deadlines or batches. openpi's
client speaks to a server like its own reference: one websocket, the policy called in the event loop. It takes part where
it is installed: pip install --no-deps openpi-client==0.1.2; pip install websockets.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pickle
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import zmq

from forehand import Camera, Contract, Field, Observation, Policy, Prediction, Session
from forehand.wire import PolicyClient, PolicyServer

CONTRACT = Contract(
    cameras=(Camera("static", 224, 224), Camera("wrist", 224, 224)),
    state=(Field("pose", 7), Field("gripper", 1)),
    action=(Field("pose", 6), Field("gripper", 1)),
    rate=15.0,
)
ACTIONS = np.zeros((3, CONTRACT.action_size), np.float32)
ROUNDS = 10


class InstantPolicy(Policy):
    """Answers without looking."""

    contract = CONTRACT

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        return [Prediction(ACTIONS) for _ in sessions]


def serve_forehand() -> None:
    server = PolicyServer(InstantPolicy(), "tcp://127.0.0.1:0")
    print(server.address, flush=True)
    server.run()


def serve_pickle() -> None:
    socket = zmq.Context.instance().socket(zmq.REP)
    socket.bind("tcp://127.0.0.1:0")
    print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    while True:
        pickle.loads(socket.recv())
        socket.send(pickle.dumps({"actions": ACTIONS}, protocol=5))


def serve_openpi() -> None:
    from openpi_client import msgpack_numpy
    from websockets.asyncio.server import ServerConnection, serve

    async def answer(connection: ServerConnection) -> None:
        packer = msgpack_numpy.Packer()
        await connection.send(packer.pack({}))
        async for data in connection:
            msgpack_numpy.unpackb(data)
            await connection.send(packer.pack({"actions": ACTIONS}))

    async def run() -> None:
        async with serve(answer, "127.0.0.1", 0, compression=None, max_size=None) as server:
            print(f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", flush=True)
            await server.serve_forever()

    asyncio.run(run())


def observation(step: int) -> Observation:
    images = {c.name: np.full((c.height, c.width, 3), step % 256, np.uint8) for c in CONTRACT.cameras}
    return Observation(images, np.full(CONTRACT.state_size, step, np.float32), step / CONTRACT.rate)


def time_round(ask: Callable[[Observation], object], steps: int) -> list[float]:
    taken = []
    for step in range(steps):
        seen = observation(step)
        start = time.perf_counter()
        ask(seen)
        taken.append(time.perf_counter() - start)
    return taken


def start(name: str) -> tuple[subprocess.Popen[str], str]:
    server = subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def measure(steps: int) -> dict[str, list[float]]:
    servers = {name: start(name) for name in SERVERS}
    try:
        session = PolicyClient(servers["forehand"][1]).open("push", CONTRACT)
        socket = zmq.Context.instance().socket(zmq.REQ)
        socket.connect(servers["pickle"][1])

        def ask_pickle(seen: Observation) -> object:
            fields = {"images": seen.images, "state": seen.state, "time": seen.time}
            socket.send(pickle.dumps(fields, protocol=5))
            return pickle.loads(socket.recv())

        clients: dict[str, Callable[[Observation], object]] = {"forehand": session.step, "pickle": ask_pickle}
        if "openpi" in servers:
            from openpi_client.websocket_client_policy import WebsocketClientPolicy

            host, port = servers["openpi"][1].split(":")
            theirs = WebsocketClientPolicy(host, int(port))
            clients["openpi"] = lambda seen: theirs.infer(
                {
                    "observation/image": seen.images["static"],
                    "observation/wrist_image": seen.images["wrist"],
                    "observation/state": seen.state,
                    "prompt": "push",
                }
            )
        else:
            print("openpi-client or websockets is not installed: left out")
        taken: dict[str, list[float]] = {name: [] for name in clients}
        for ask in clients.values():
            time_round(ask, 100)  # warm up
        for _ in range(ROUNDS):
            for name, ask in clients.items():
                taken[name] += time_round(ask, steps // ROUNDS)
        socket.close(linger=0)
        return taken
    finally:
        for server, _ in servers.values():
            server.kill()
            server.wait()


SERVERS = {"forehand": serve_forehand, "pickle": serve_pickle}
if find_spec("openpi_client") and find_spec("websockets"):
    SERVERS["openpi"] = serve_openpi


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000, help="round trips of each kind")
    parser.add_argument("--serve", choices=sorted(SERVERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        SERVERS[options.serve]()
        return
    taken = measure(options.steps)
    print(f"{options.steps} steps, {platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    table = {name: np.percentile(np.array(times) * 1e3, [50, 99]) for name, times in taken.items()}
    for name, (median, p99) in table.items():
        print(f"{name:10s} median {median:6.3f} ms   p99 {p99:6.3f} ms")
    for other in [name for name in table if name != "forehand"]:
        ratio = table["forehand"] / table[other]
        print(f"forehand / {other:8s} median {ratio[0]:5.2f}   p99 {ratio[1]:5.2f}")


if __name__ == "__main__":
    main()
