"""Driving one trial: an episode, or a chain of them, until the first failure."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forehand.contract import require_fit
from forehand.execution import Execution
from forehand.film import Film
from forehand.policy import Policy
from forehand.results import EpisodeResult
from forehand.robot import Episode, Robot
from forehand.rollout import rollout

VIDEOS = "videos"


@dataclass(frozen=True)
class Trial:
    """The episodes of one trial, what the policy hears in each, and the folder below which it is filmed, if it is."""

    index: int
    episodes: tuple[Episode, ...]
    heard: tuple[str, ...]
    film_in: Path | None = None


class Driver:
    """A robot, not yet connected, and the policy that drives it, one trial after another.

    ``execution`` makes an execution for each episode; ``name`` is what messages call the robot.
    """

    def __init__(self, policy: Policy, robot: Robot, execution: Callable[[], Execution], name: str = "The robot") -> None:
        self._policy, self._robot, self._execution, self._name = policy, robot, execution, name
        self.doing = f"{name} could not be connected"
        """What a failure interrupts, for the message about it."""

    def connect(self) -> None:
        """Connect the robot, and compare its contract with the policy's."""
        self._robot.connect()
        self.doing = f"{self._name} and the policy do not go together"
        require_fit(self._policy.contract, self._robot.contract, "the policy", "the robot")

    def drive(self, trial: Trial, stop: Callable[[], bool] | None = None) -> list[EpisodeResult]:
        """What came of each episode; raises :class:`forehand.rollout.Stopped` if ``stop`` says so before a step."""
        results: list[EpisodeResult] = []
        for position, episode in enumerate(trial.episodes):
            self.doing = f"Episode {trial.index} ({episode.task}, seed {episode.seed}) was broken off"
            results.append(self._drive(trial, position, stop))
            if not results[-1].success:
                break
        return results

    def close(self) -> None:
        """Let go of the robot, also of one that failed."""
        with contextlib.suppress(Exception):
            self._robot.close()

    def _drive(self, trial: Trial, position: int, stop: Callable[[], bool] | None) -> EpisodeResult:
        start = time.monotonic()
        episode, heard = trial.episodes[position], trial.heard[position]
        robot, policy, execution = self._robot, self._policy, self._execution()
        number = f"{trial.index:04d}" if len(trial.episodes) == 1 else f"{trial.index:04d}-{position + 1}"
        video: Path | None = None
        if trial.film_in is None:
            outcome = rollout(robot, policy, episode, execution, instruction=heard, stop=stop)
        else:
            folder = trial.film_in / VIDEOS
            folder.mkdir(parents=True, exist_ok=True)
            staging = folder / f".{number}.mp4"
            cameras = [c.name for c in policy.contract.cameras]
            caption = heard if heard == episode.instruction else f"{heard}  (asked: {episode.instruction})"
            try:
                with Film(staging, cameras, robot.contract.rate, caption) as film:
                    outcome = rollout(
                        robot, policy, episode, execution, instruction=heard, forecast=True, watch=film.watch, stop=stop
                    )
            except BaseException:
                staging.unlink(missing_ok=True)
                raise
            video = folder / video_name(number, heard, outcome.success)
            staging.replace(video)
        return EpisodeResult(
            index=trial.index,
            task=episode.task,
            instruction=episode.instruction,
            heard=heard,
            seed=episode.seed,
            success=outcome.success,
            steps=outcome.steps,
            seconds=round(time.monotonic() - start, 3),
            video=str(video.relative_to(trial.film_in)) if video and trial.film_in else None,
            position=position,
        )


def video_name(number: str, instruction: str, success: bool) -> str:
    """For instance ``0007_lift-the-red-block_success.mp4``."""
    words = re.sub(r"[^\w]+", "-", instruction.lower()).strip("-")[:60]
    return f"{number}_{words}_{'success' if success else 'failure'}.mp4"
