"""How fast the embedded simulator is, and what its rendering settings are worth.

Two scenes take turns in one process: ours, and the same scene with MuJoCo's default rendering settings (shadows, four
samples a pixel, finer cylinders). One step is one control step (16 of physics) and a fresh 128 x 128 image from each of
the two cameras. The ratio is what to compare between machines; CPU time says more than wall time where others use the
cores.

    python performance/tabletop_speed.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from forehand_tabletop.arm import panda
from forehand_tabletop.blocks.blocks import sample_blocks
from forehand_tabletop.blocks.robot import TabletopRobot
from forehand_tabletop.blocks.scene import build_scene
from forehand_tabletop.blocks.simulation import Simulation

IMAGE_SIZE = 128


def main() -> None:
    """Print steps a second and the ratio to the baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each measurement is repeated (default: 7)")
    parser.add_argument("--steps", type=int, default=60, help="control steps a measurement (default: 60)")
    arguments = parser.parse_args()

    ours, default = Simulation(build_scene(), IMAGE_SIZE), Simulation(_with_default_rendering(), IMAGE_SIZE)
    robot = TabletopRobot(IMAGE_SIZE)
    robot.connect()
    steps, few = arguments.steps, max(1, arguments.steps // 20)
    measurements: dict[str, tuple[int, Callable[[int], object]]] = {
        "scene, ours": (steps, lambda step: _step(ours, step)),
        "scene, MuJoCo's default rendering (baseline)": (few, lambda step: _step(default, step)),
        "robot: act and observe": (steps, lambda step: (_act(robot, step), robot.observe())),
        "robot: act": (steps, lambda step: _act(robot, step)),
        "robot: reset": (few, lambda step: robot.reset()),
    }
    wall: dict[str, list[float]] = {name: [] for name in measurements}
    cpu: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(arguments.rounds):
        for simulation in (ours, default):
            simulation.reset(np.array(panda.READY), panda.FINGER_TRAVEL, sample_blocks(np.random.default_rng(0)))
        robot.reset()
        for name, (count, run) in measurements.items():
            began_wall, began_cpu = time.perf_counter(), time.process_time()
            for step in range(count):
                run(step)
            wall[name].append((time.perf_counter() - began_wall) / count)
            cpu[name].append((time.process_time() - began_cpu) / count)
    for simulation in (ours, default):
        simulation.close()
    robot.close()

    print(f"{'median of ' + str(arguments.rounds):46}{'ms wall':>10}{'ms CPU':>10}{'per second (CPU)':>20}")
    for name in measurements:
        wall_time, cpu_time = statistics.median(wall[name]), statistics.median(cpu[name])
        print(f"{name:46}{wall_time * 1e3:10.2f}{cpu_time * 1e3:10.2f}{1 / cpu_time:20.0f}")
    ratios = sorted(b / a for a, b in zip(*list(cpu.values())[:2], strict=True))
    print(
        f"ours is {statistics.median(ratios):.2f} times the baseline's speed (CPU; {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def _with_default_rendering() -> Any:
    scene = build_scene()
    scene.visual.quality.set_attributes(offsamples=4, shadowsize=4096, numslices=28, numstacks=16)
    for light in scene.find_all("light"):
        light.castshadow = True
    return scene


def _step(simulation: Simulation, step: int) -> None:
    sway = 0.2 * np.sin(step / 8)
    simulation.step(np.array(panda.READY) + sway * np.array([1, 0.5, 0, 0.5, 0, 0.5, 0]), panda.FINGER_TRAVEL)
    simulation.render()


def _act(robot: TabletopRobot, step: int) -> None:
    robot.act(np.array([0.02 * np.sin(step / 8), 0.02 * np.cos(step / 8), 0, 0, 0, 0, 1], np.float32))


if __name__ == "__main__":
    main()
