"""``forehand run``: a policy drives a robot in real time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from forehand import Benchmark, Contract, Episode, Robot
from forehand.contracts.compatibility import restrictions
from forehand.errors import ConfigurationError, afterwards
from forehand.running import ControlLoop, Report, StepObserver, WatchdogRobot, open_rerun
from forehand.running.control_step import Step
from forehand.utils.signals import stop_event
from forehand_apps.cli.instantiate import chunker_factory, make, make_robot, open_policies

log = logging.getLogger(__name__)

REPORT = "report.json"


def run(config: DictConfig) -> None:
    """Drive every episode, print the report, and write it to the output folder."""
    benchmark: Benchmark | None = make("benchmark", config.benchmark) if config.get("benchmark") else None
    trials = read_trials(config, benchmark)
    robot: Robot = WatchdogRobot(make_robot(config.robot), config.command_timeout, config.stop_after)
    with afterwards(robot.close):
        robot.connect()
        if benchmark is not None:
            benchmark.require(robot)
        (opened,) = open_policies(config.policy, [robot])
        policy = opened.for_robot(robot.contract)
        for restriction in restrictions(policy.contract, robot.contract):
            log.warning("the robot's limits are narrower than the training data's: %s", restriction)
        chunker = chunker_factory(config)(policy.contract)
        line = StatusLine(config.report_every)
        with (
            stop_event() as stop,
            recorder(config, robot.contract) as recorders,
            viewer(config, robot.contract) as view,
            ControlLoop(
                robot,
                policy,
                chunker,
                forecast=bool(view) and config.forecast,
                policy_timeout=config.policy_timeout,
                reconnect_timeout=config.reconnect_timeout,
                observers=[line, *recorders, *view],
                stop=stop,
            ) as drive,
        ):
            line.report = drive.report
            folder = Path(HydraConfig.get().runtime.output_dir)
            with afterwards(lambda: conclude(drive.report, folder)):
                for instruction, episode in trials:
                    print(f"driving: {instruction}   ({until(config, episode)})", flush=True)
                    ending = drive.episode(instruction, episode, config.max_steps)
                    print(f"{WORDS[ending.reason]}; the robot holds. {ending.steps} steps", flush=True)
                    if stop.is_set():
                        break


WORDS = {
    "accomplished": "the task is accomplished",
    "step limit": "the step limit is reached",
    "stopped": "stopped by hand",
}


def until(config: DictConfig, episode: Episode | None) -> str:
    """What ends an episode, in words."""
    if episode is None and config.max_steps is None:
        return "until Ctrl-C: without a benchmark or max_steps=… nothing else ends it"
    return "Ctrl-C stops"


def read_trials(config: DictConfig, benchmark: Benchmark | None) -> list[tuple[str, Episode | None]]:
    """The episodes to drive: each one's instruction, and its scene where a benchmark defines it."""
    if benchmark is not None:
        episodes = benchmark.episodes(config.episodes, config.seed, None if config.tasks is None else list(config.tasks))
        return [(config.instruction or episode.instruction, episode) for episode in episodes]
    if config.instruction is None:
        raise ConfigurationError(
            "instruction must be given: forehand run instruction=… is the policy's instruction. "
            "Only a benchmark (benchmark=…) has instructions of its own."
        )
    if config.episodes > 1 and config.max_steps is None:
        raise ConfigurationError(f"episodes={config.episodes} needs max_steps=…: nothing else ends an episode.")
    return [(config.instruction, None)] * config.episodes


@contextlib.contextmanager
def recorder(config: DictConfig, contract: Contract) -> Iterator[list[StepObserver]]:
    """The observer that records the run, if there is one."""
    if config.record_to is None:
        yield []
        return
    from forehand.data.recording.card import training_command
    from forehand.running.episode_recorder import record_episodes
    from forehand.utils.video import Encoding

    root = Path(config.record_to).expanduser()
    with record_episodes(root, contract, config.robot.name, Encoding(**config.video)) as episode_recorder:
        yield [episode_recorder]
    log.info("recorded to %s; learn from it with: %s", root, training_command(str(root), contract))


@contextlib.contextmanager
def viewer(config: DictConfig, contract: Contract) -> Iterator[list[StepObserver]]:
    """The observer that shows the run, if there is one."""
    if not config.rerun:
        yield []
        return
    view = open_rerun(config.rerun, contract)
    try:
        yield [view]
    finally:
        view.close()


class StatusLine(StepObserver):
    """Logs the report's line every ``every`` seconds."""

    report: Report

    def __init__(self, every: float) -> None:
        self._every, self._last = every, 0.0

    def on_episode_start(self, episode: int, instruction: str) -> None:
        """Restart the interval."""
        self._last = time.monotonic()

    def on_step(self, step: Step) -> None:
        """Log the line, if the interval is over."""
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            log.info("%s", self.report.line())


def conclude(report: Report, folder: Path) -> None:
    """Print the closing report, and write it to ``folder``."""
    table = Table("run", "", box=None, show_header=False)
    for what, value in report.rows():
        table.add_row(what, value)
    Console().print(table, soft_wrap=True)
    report.write(folder / REPORT)
    print(f"written to {folder / REPORT}", flush=True)
