"""What it costs to have a simulator behind a robot host, and what a second one beside it brings.

In interleaved rounds: N control steps of the driver in a process of its own, called directly (the baseline); the same
through a host process; and two hosts at once. A step is an action and a fresh picture from every camera. Wall time says
something only where nothing else runs, CPU time also elsewhere: cores and load are printed. Two simulators beside each
other need two cores.

    python performance/hosted_simulators.py                                             # the embedded tabletop
    python performance/hosted_simulators.py --robot libero --environment libero --steps 40
    python performance/hosted_simulators.py --robot calvin --environment calvin
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from forehand import Episode, Robot, registry
from forehand.environments import find
from forehand_robots.host_process import HostProcess
from forehand_robots.remote import RemoteRobot

PATIENCE = 900.0  # seconds that a scene may take to build
Reading = tuple[float, float]  # wall and CPU seconds


def main() -> None:
    """Print the times of a step, and both ratios."""
    if sys.argv[1:2] == ["--alone"]:
        _serve_alone(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", default="tabletop", help="a robot whose benchmark has its name (default: tabletop)")
    parser.add_argument("--environment", help="in which it is simulated (forehand env list; default: this Python)")
    parser.add_argument("--options", type=json.loads, default={}, help="of the robot, as JSON")
    parser.add_argument("--rounds", type=int, default=5, help="how often each measurement is repeated (default: 5)")
    parser.add_argument("--steps", type=int, default=40, help="control steps a measurement (default: 40)")
    arguments = parser.parse_args()

    load = os.getloadavg()[0]
    (episode,) = registry().create("benchmark", arguments.robot).trials(1, 0)[0][:1]
    what = {"robot": arguments.robot, "options": arguments.options, "episode": asdict(episode)}
    alone = Alone(what, arguments.environment)
    hosts = [Hosted(what, arguments.environment) for _ in range(2)]
    measurements: dict[str, Callable[[int], Reading]] = {
        "alone": alone.run,
        "behind a host": hosts[0].run,
        "two hosts at once": lambda steps: side_by_side(hosts, steps),
    }
    found: dict[str, list[Reading]] = {name: [] for name in measurements}
    for _ in range(arguments.rounds):
        for name, run in measurements.items():
            found[name].append(run(arguments.steps))
    for simulator in (alone, *hosts):
        simulator.close()

    print(f"{arguments.robot}, {arguments.steps} steps a measurement, {arguments.rounds} rounds, {os.cpu_count()} cores,")
    print(f"load of the machine {load:.1f} before and {os.getloadavg()[0]:.1f} after (0 before: a quiet machine)")
    for name, readings in found.items():
        times = [statistics.median(kind) / arguments.steps * 1e3 for kind in zip(*readings, strict=True)]
        print(f"{name:20} {times[0]:8.2f} ms wall and {times[1]:8.2f} ms CPU a step of each")
    for kind, number in (("wall", 0), ("CPU", 1)):
        ratios = [b[number] / a[number] for a, b in zip(found["alone"], found["behind a host"], strict=True)]
        print(f"a host costs {100 * (statistics.median(ratios) - 1):+.1f} % {kind} time over the simulator alone")
    gains = [2 * b[0] / c[0] for b, c in zip(found["behind a host"], found["two hosts at once"], strict=True)]
    print(f"two workers do {statistics.median(gains):.2f} times the work of one")


class Alone:
    """The driver in a process of its own, which measures itself."""

    def __init__(self, what: dict[str, Any], environment: str | None) -> None:
        python = sys.executable if environment is None else find(environment).executable
        command = [str(python), str(Path(__file__).absolute()), "--alone", json.dumps(what)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps: int) -> Reading:
        """Reset, and take ``steps`` steps; the time of these."""
        assert self._process.stdin
        assert self._process.stdout
        print(steps, file=self._process.stdin, flush=True)
        while not (line := self._process.stdout.readline()).startswith("measured "):
            if not line:
                raise RuntimeError("The process of the simulator ended.")
        wall, cpu = json.loads(line.removeprefix("measured "))
        return wall, cpu

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class Hosted:
    """The same driver behind a host process, with its client here."""

    def __init__(self, what: dict[str, Any], environment: str | None) -> None:
        self._process = HostProcess(what["robot"], what["options"], environment, PATIENCE)
        self._robot = RemoteRobot(self._process.address, PATIENCE, silence=PATIENCE)
        self._robot.connect()
        self._episode = Episode(**what["episode"])

    def run(self, steps: int) -> Reading:
        """Reset, and take ``steps`` steps; the time of these, CPU time of host and client together."""
        self._robot.reset(self._episode)
        began = self._cpu(), time.thread_time()
        wall = take(self._robot, steps)
        return wall, self._cpu() - began[0] + time.thread_time() - began[1]

    def close(self) -> None:
        """End the process."""
        self._robot.close()
        self._process.end()

    def _cpu(self) -> float:
        """Seconds of processor time that the host process took so far."""
        fields = Path(f"/proc/{self._process.process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def side_by_side(hosts: list[Hosted], steps: int) -> Reading:
    """Both at once, from the same moment on: the slower one's wall time, and the mean CPU time."""
    readings: list[Reading] = []
    threads = [threading.Thread(target=lambda host=host: readings.append(host.run(steps))) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(wall for wall, _ in readings), statistics.fmean(cpu for _, cpu in readings)


def take(robot: Robot, steps: int) -> float:
    """Take ``steps`` steps of zeros; seconds."""
    still = np.zeros(robot.contract.action_size, np.float32)
    began = time.perf_counter()
    for _ in range(steps):
        robot.step(still)
    return time.perf_counter() - began


def _serve_alone(what: dict[str, Any]) -> None:
    robot: Robot = registry().create("robot", what["robot"], **what["options"])
    robot.connect()
    episode = Episode(**what["episode"])
    for line in sys.stdin:
        robot.reset(episode)
        began = time.process_time()
        wall = take(robot, int(line))
        print("measured", json.dumps([wall, time.process_time() - began]), flush=True)
    robot.close()


if __name__ == "__main__":
    main()
