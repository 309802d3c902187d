"""``forehand run``: a policy drives a robot in real time."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from forehand import Benchmark, Contract, Episode, Robot
from forehand.contract import require_fit, restrictions
from forehand.errors import ConfigurationError
from forehand.rollout import Moment
from forehand.running import Drive, Report, WatchedRobot, Watcher, live_view
from forehand_apps.assembly import execution_factory, make, make_robot, open_policies

log = logging.getLogger(__name__)

REPORT = "report.json"


def run(config: DictConfig) -> None:
    """Drive every episode, print what became of the run, and write it down."""
    trials = read_trials(config)
    robot: Robot = WatchedRobot(make_robot(config.robot), config.robot_watchdog, config.robot_stop)
    try:
        robot.connect()
        (policy,) = open_policies(config.policy, [robot])
        require_fit(policy.contract, robot.contract, "the policy", "the robot")
        for restriction in restrictions(policy.contract, robot.contract):
            log.warning("the robot is allowed less than the policy was shown: %s", restriction)
        execution = execution_factory(config, policy.contract)()
        line = StatusLine(config.report_every)
        with (
            stopped_by_hand() as stop,
            recorder(config, robot.contract) as tape,
            viewer(config, robot.contract) as view,
            Drive(
                robot,
                policy,
                execution,
                forecast=bool(view) and config.forecast,
                watchdog=config.watchdog,
                patience=config.patience,
                watchers=[line, *tape, *view],
                stop=stop,
            ) as drive,
        ):
            line.report = drive.report
            try:
                for instruction, episode in trials:
                    print(f"driving: {instruction}   (Ctrl-C stops)", flush=True)
                    ending = drive.episode(instruction, episode, config.max_steps)
                    print(f"{WORDS[ending.reason]}; the robot holds. {ending.steps} steps", flush=True)
                    if stop.is_set():
                        break
            finally:
                conclude(drive.report, Path(HydraConfig.get().runtime.output_dir))
    finally:
        robot.close()


WORDS = {
    "accomplished": "the task is accomplished",
    "step limit": "the step limit is reached",
    "stopped": "stopped by hand",
}


def read_trials(config: DictConfig) -> list[tuple[str, Episode | None]]:
    """What is to be driven: each episode's instruction, and its scene where a benchmark gives one."""
    if config.episodes < 1:
        raise ConfigurationError(f"run drives at least one episode, not episodes={config.episodes}.")
    if config.get("benchmark"):
        benchmark: Benchmark = make("benchmark", config.benchmark)
        episodes = benchmark.episodes(config.episodes, config.seed, None if config.tasks is None else list(config.tasks))
        return [(config.instruction or episode.instruction, episode) for episode in episodes]
    if config.instruction is None:
        raise ConfigurationError(
            "instruction must be given: forehand run instruction=… is what the policy is told. "
            "Only a benchmark (benchmark=…) brings its own."
        )
    if config.episodes > 1 and config.max_steps is None:
        raise ConfigurationError(f"episodes={config.episodes} needs max_steps=…: nothing else says when one is over.")
    return [(config.instruction, None)] * config.episodes


@contextlib.contextmanager
def recorder(config: DictConfig, contract: Contract) -> Iterator[list[Watcher]]:
    """Who records the run, if it is to be recorded."""
    if config.record is None:
        yield []
        return
    from forehand.data.tape import taping
    from forehand.data.video import Encoding

    root = Path(config.record).expanduser()
    with taping(root, contract, config.robot.name, Encoding(**config.video)) as tape:
        yield [tape]
    log.info("recorded to %s; learn from it with: forehand train dataset=%s", root, root)


@contextlib.contextmanager
def viewer(config: DictConfig, contract: Contract) -> Iterator[list[Watcher]]:
    """Who shows the run, if it is to be shown."""
    if not config.live:
        yield []
        return
    view = live_view(config.live, contract)
    try:
        yield [view]
    finally:
        view.close()


class StatusLine(Watcher):
    """Logs how the run goes, every so many seconds."""

    report: Report

    def __init__(self, every: float) -> None:
        self._every, self._last = every, 0.0

    def begin(self, episode: int, instruction: str) -> None:
        """Nothing to tell yet."""
        self._last = time.monotonic()

    def watch(self, moment: Moment) -> None:
        """Say it, if it is time."""
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


@contextlib.contextmanager
def stopped_by_hand() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a control step is never torn apart; a second Ctrl-C does not wait."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
