"""``forehand demo``: record, train, serve, drive, evaluate, and a page with the results, through the other commands."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from omegaconf import DictConfig

from forehand.evaluation.results import RESULTS
from forehand.learning.checkpoint import provenance
from forehand.plugins import registry
from forehand_apps.cli.steps import CONSOLE, StepFailed, require_success, run_step, step_arguments
from forehand_apps.pages.demo import EVALUATIONS, PAGE, write_page

STAGES, SUMMARY, LOGS = "stages.json", "summary.json", "logs"
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # where processes share the cores, threads only spin
AGAIN = "Continue with: forehand demo resume=true"


def demo(config: DictConfig) -> None:
    """Run all stages, write the page, and print the success rate in the last line."""
    folder = Path(config.output)
    if not config.resume:
        set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stages = Stages(folder / STAGES)
    stages.run("record", lambda: _record(config, folder))
    stages.run("train", lambda: _train(config, folder))
    stages.run("evaluate", lambda: _evaluate(config, folder))
    stages.run("look", lambda: _look(config, folder))
    stages.run("page", lambda: write_page(folder, _summarize(config, folder, stages)))
    summary = _summarize(config, folder, stages)
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    CONSOLE.print(f"\nSee [bold]{folder / PAGE}[/]; the numbers are in {folder / SUMMARY}.")
    low, high = summary["success_interval"]
    print(f"success {summary['success_rate']:.2f} [{low:.2f}, {high:.2f}] n={summary['episodes']}")


class Stages:
    """The stages that are done, and the seconds each took."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def run(self, name: str, work: Callable[[], None]) -> None:
        """Do ``work``, unless the interrupted demo finished it."""
        if name in self.seconds:
            return
        CONSOLE.rule(f"[bold]{name}")
        started = time.monotonic()
        work()
        self.seconds[name] = round(time.monotonic() - started, 1)
        self.path.write_text(json.dumps(self.seconds))


def _record(config: DictConfig, folder: Path) -> None:
    tasks = ",".join(config.tasks)
    _run(
        f"record output={folder}/data episodes={config.episodes} seed={config.seed} tasks=[{tasks}] "
        f"noise.std={config.noise}"
    )


def _train(config: DictConfig, folder: Path) -> None:
    threads = config.threads or max(1, (os.cpu_count() or 1) // 2)
    recipe = " ".join(f"recipe.{key}={value}" for key, value in config.recipe.items())
    common = f"train dataset={folder}/data device=cpu threads={threads} resume=true recipe.seed={config.seed} {recipe}"
    # In parallel, since small models do not use many cores. The untrained policy is trained for no steps.
    beside = {"without_foresight": "behaviour_cloning", "act": "act_bc"}
    with contextlib.ExitStack() as running:
        others = [
            running.enter_context(
                _Background(f"{common} policy={policy} output={folder}/{name}", folder / LOGS / f"train_{name}.txt")
            )
            for name, policy in beside.items()
        ]
        _run(f"{common} policy=seer_small output={folder}/seer")
        _run(f"{common} policy=seer_small output={folder}/untrained recipe.steps=0")
        for other in others:
            other.wait()


def _evaluate(config: DictConfig, folder: Path) -> None:
    chosen = config.evaluation
    with contextlib.ExitStack() as running:

        def start(name: str, command: str) -> _Background:
            """A server or a robot host, being started."""
            log = folder / LOGS / f"{name}.txt"
            return running.enter_context(_Background(f"{command} address=tcp://127.0.0.1:0", log))

        hosts = [start(f"robot_{i}", "robot robot=tabletop watchdog=30") for i in range(config.robots)]
        servers = {
            name: start(f"serve_{name}", f"serve policy.checkpoint={folder}/{name} policy.device=cpu")
            for name in dict.fromkeys(e.policy for e in EVALUATIONS)
        }
        robots = ",".join(host.address() for host in hosts)
        policies = {name: server.address() for name, server in servers.items()}
        for evaluation in EVALUATIONS:
            _run(
                f"eval policy.address={policies[evaluation.policy]} policy.timeout=60 robots=[{robots}] "
                f"instruction={evaluation.instruction} episodes={chosen.episodes} seed={chosen.seed} "
                f"num_videos={chosen.num_videos} chunking={chosen.chunking} binary_gripper=true "
                f"output={folder}/{evaluation.folder}"
            )


def _look(config: DictConfig, folder: Path) -> None:
    _run(
        f"view {folder}/{EVALUATIONS[0].folder} policy.checkpoint={folder}/{EVALUATIONS[0].policy} policy.device=cpu "
        f"episodes={config.evaluation.num_shown}",
        ONE_THREAD,
    )


def _summarize(config: DictConfig, folder: Path, stages: Stages) -> dict[str, Any]:
    results = {e.folder: json.loads((folder / e.folder / RESULTS).read_text()) for e in EVALUATIONS}
    main, untrained = results["evaluation"], results["evaluation_untrained"]
    about = provenance(plugins=registry().versions())
    return {
        "success_rate": main["success_rate"],
        "success_interval": main["success_interval"],
        "untrained_success_rate": untrained["success_rate"],
        "episodes": len(main["episodes"]),
        "seconds": round(sum(stages.seconds.values()), 1),
        "commit": about["commit"],
        "stages": dict(stages.seconds),
        "tables": {name: result["table"] for name, result in results.items()},
        "demonstrations": config.episodes,
        "recipe": dict(config.recipe),
        "seed": config.seed,
        "evaluation_seed": config.evaluation.seed,
        "machine": about["machine"],
        "versions": about["versions"],
    }


def set_aside(folder: Path) -> None:
    """Rename ``folder``, if it is there, to one that ends in ``.previous``, in place of an earlier one."""
    if folder.exists():
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)


def _run(command: str, environment: Mapping[str, str] | None = None) -> None:
    run_step(shlex.split(command), AGAIN, environment)


class _Background:
    """A command in the background that writes to a log; it is ended, if it still runs, on leaving the context."""

    def __init__(self, command: str, log: Path) -> None:
        self.command, self.log = command, log
        log.parent.mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        with self.log.open("w") as errors:
            arguments = step_arguments(shlex.split(self.command))
            self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True, env=ONE_THREAD)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()

    def address(self) -> str:
        """Its address: the last word of the line that it prints when it is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.wait()
            raise StepFailed(f"forehand {self.command} ended before it was ready; see {self.log}.")
        return line.split()[-1]

    def wait(self) -> None:
        """Wait until it ends; raises :class:`StepFailed` if it failed."""
        self._process.communicate()
        require_success(
            self._process.returncode, shlex.split(self.command), AGAIN, f"Its log ends:\n{self.log.read_text()[-2000:]}"
        )
