"""Trial runner: one episode, or a chain of episodes until the first failure."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from forehand.benchmark import Benchmark
from forehand.contracts.compatibility import restrictions
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import DEPTH
from forehand.control.chunking import ActionChunker
from forehand.control.slow_calls import SlowCallReporter
from forehand.errors import RobotLost, contained
from forehand.evaluation.results import EpisodeResult
from forehand.policy import Policy
from forehand.robot import Episode, Robot
from forehand.running.distribution_shift import DistributionShift
from forehand.running.rollout import Outcome, rollout
from forehand.running.video import RolloutVideo

log = logging.getLogger(__name__)

VIDEOS = "videos"
OUTCOMES = {True: "success", False: "failure", None: "end"}


@dataclass(frozen=True)
class Trial:
    """The episodes of one trial, the policy's instruction in each, and the folder below which it is filmed, if it is."""

    index: int
    episodes: tuple[Episode, ...]
    instructions_given: tuple[str, ...]
    video_dir: Path | None = None


class TrialRunner:
    """A robot, not yet connected, and the policy that drives it, one trial after another.

    ``chunking`` makes an action chunker for each episode, from the contract that the policy has for this robot; ``name``
    is what messages call the robot; ``benchmark``: whose episodes they are, if the robot is to be compared with it;
    ``latency``: of the policy, in seconds of simulated time.
    """

    def __init__(
        self,
        policy: Policy,
        robot: Robot,
        chunking: Callable[[Contract], ActionChunker],
        name: str = "The robot",
        benchmark: Benchmark | None = None,
        latency: float = 0.0,
    ) -> None:
        self._benchmark = benchmark
        self._policy, self._chunking, self._name = policy, chunking, name
        self._robot = SlowCallReporter(robot)
        self.stage = f"{name} could not be connected"
        """What a failure interrupts, for the message about it."""
        self._latency = latency
        self._shift: DistributionShift | None = None

    def connect(self) -> None:
        """Connect the robot, and compare its contract with the policy's."""
        self._robot.connect()
        if self._benchmark is not None:
            self.stage = f"{self._name} and the benchmark do not go together"
            self._benchmark.require(self._robot)
        self.stage = f"{self._name} and the policy do not go together"
        self._policy = self._policy.for_robot(self._robot.contract)
        self._chunking(self._policy.contract)  # to fail before anything moves
        for restriction in restrictions(self._policy.contract, self._robot.contract):
            log.warning("the robot is allowed less than the policy was shown: %s", restriction)
        self._shift = DistributionShift(self._policy.describe(), self._robot.contract)
        self._shift.check_action_range()

    def drive(self, trial: Trial, stop: Callable[[], bool] | None = None) -> list[EpisodeResult]:
        """Results by episode; raises :class:`~forehand.running.rollout.Stopped` if ``stop`` is true before a step.

        A trial whose simulator died (:class:`~forehand.errors.RobotLost`) is repeated from its beginning, once.
        """
        try:
            return self._attempt(trial, stop)
        except RobotLost as lost:
            log.warning("%s, and is repeated once: %s", self.stage, lost)
        self._robot.close()
        self._robot.connect()
        return [replace(result, repeated=True) for result in self._attempt(trial, stop)]

    def _attempt(self, trial: Trial, stop: Callable[[], bool] | None) -> list[EpisodeResult]:
        results: list[EpisodeResult] = []
        for position, episode in enumerate(trial.episodes):
            self.stage = f"Episode {trial.index} ({episode.task}, seed {episode.seed}) was interrupted"
            results.append(self._drive(trial, position, stop))
            if not results[-1].success:
                break
        return results

    def close(self) -> None:
        """Let go of the robot, also of one that failed."""
        try:
            self._robot.close()
        except BaseException as error:  # its episodes are finished, or ended with an error of their own
            contained(error, "The robot's close()")

    def _drive(self, trial: Trial, position: int, stop: Callable[[], bool] | None) -> EpisodeResult:
        start = time.monotonic()
        episode, given = trial.episodes[position], trial.instructions_given[position]
        number = f"{trial.index:04d}" if len(trial.episodes) == 1 else f"{trial.index:04d}-{position + 1}"
        video: Path | None = None
        if trial.video_dir is None or not self._policy.contract.cameras:
            outcome = self._rollout(episode, given, stop)
        else:
            outcome, video = self._filmed(episode, given, stop, trial.video_dir / VIDEOS, number)
        return EpisodeResult(
            index=trial.index,
            task=episode.task,
            instruction=episode.instruction,
            instruction_given=given,
            seed=episode.seed,
            success=outcome.success,
            steps=outcome.steps,
            seconds=round(time.monotonic() - start, 3),
            video=str(video.relative_to(trial.video_dir)) if video and trial.video_dir else None,
            position=position,
            episode_return=outcome.episode_return,
        )

    def _filmed(
        self, episode: Episode, given: str, stop: Callable[[], bool] | None, folder: Path, number: str
    ) -> tuple[Outcome, Path]:
        """An episode's outcome, and its video, which is kept only if the episode came to its end."""
        folder.mkdir(parents=True, exist_ok=True)
        staging = folder / f".{number}.mp4"
        caption = given if given == episode.instruction else f"{given}  (asked: {episode.instruction})"
        cameras = [camera.name for camera in self._policy.contract.cameras]
        depths = [sensor for sensor in self._policy.contract.sensors if sensor.kind == DEPTH]
        try:
            with RolloutVideo(staging, cameras, self._robot.contract.rate, caption, depths) as film:
                outcome = self._rollout(episode, given, stop, film)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise
        video = folder / video_name(number, given, outcome.success)
        staging.replace(video)
        return outcome, video

    def _rollout(
        self, episode: Episode, given: str, stop: Callable[[], bool] | None, film: RolloutVideo | None = None
    ) -> Outcome:
        return rollout(
            self._robot,
            self._policy,
            episode,
            self._chunking(self._policy.contract),
            instruction=given,
            forecast=film is not None,
            latency=self._latency,
            shift=self._shift,
            on_step=film.on_step if film else None,
            stop=stop,
        )


def video_name(number: str, instruction: str, success: bool | None) -> str:
    """For instance ``0007_lift-the-red-block_success.mp4``."""
    words = re.sub(r"[^\w]+", "-", instruction.lower()).strip("-")[:60]
    return f"{number}_{words}_{OUTCOMES[success]}.mp4"
