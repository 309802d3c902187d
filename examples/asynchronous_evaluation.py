"""Evaluate a slow policy: robots that wait for its answers, and robots that act while it computes.

python examples/asynchronous_evaluation.py

With a checkpoint: forehand eval policy.checkpoint=outputs/first chunking=asynchronous policy.latency=0.2
"""

from collections.abc import Callable, Sequence

import numpy as np

from forehand import Contract, Episode, Field, Observation, Policy, Prediction, Robot, Session
from forehand.control.chunking import ActionChunker, Asynchronous, RecedingHorizon
from forehand.evaluation.evaluate import evaluate

GOAL, STEP, CHUNK = 1.0, 0.0625, 8  # m; m, the longest motion of one control step; actions


class Slider(Robot):
    """A carriage on a rail; an episode succeeds where it comes to the goal."""

    contract = Contract(
        cameras=(),
        state=(Field("position", 1, unit="m", mode="absolute"),),
        action=(Field("position", 1, unit="m", mode="delta", low=(-STEP,), high=(STEP,)),),
        rate=10.0,  # Hz
    )

    def reset(self, episode: Episode | None = None) -> Observation:
        """Back to the beginning of the rail."""
        self.position, self.ticks = np.zeros(1, np.float32), 0
        return self.observe()

    def observe(self) -> Observation:
        """Where it is, and whether that is the goal."""
        success = bool(self.position[0] > GOAL - STEP / 2)
        return Observation({}, self.position.copy(), self.ticks / self.contract.rate, success)

    def act(self, action: np.ndarray) -> np.ndarray:
        """Move by so much."""
        self.position += action
        self.ticks += 1
        return action

    def hold(self) -> None:
        """Stay; in a simulation time passes only by acting, so nothing is to be done."""


class ToGoal(Policy):
    """The next eight motions towards the goal, from the observed position."""

    contract = Slider.contract

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """One chunk for each session."""
        way = [np.arange(CHUNK + 1, dtype=np.float32) * STEP + observation.state for observation in observations]
        return [Prediction(np.diff(np.minimum(points, GOAL))[:, None]) for points in way]


if __name__ == "__main__":
    episodes = [Episode(task="slide", instruction="slide to the goal", seed=0, max_steps=40)]
    chunkings: dict[str, Callable[[], ActionChunker]] = {
        "receding horizon": lambda: RecedingHorizon(CHUNK),
        "asynchronous": lambda: Asynchronous(blend=2),
    }
    for name, chunking in chunkings.items():
        # Seconds of simulated time: the result does not depend on this computer. A chunk lasts 0.8 s; acting while the
        # policy computes cannot bridge more.
        for latency in (0.0, 0.3, 0.9):
            (result,) = evaluate(ToGoal(), [Slider()], episodes, chunking=chunking, latency=latency).episodes
            print(f"{name}, latency {latency} s: {'success' if result.success else 'failure'} in {result.steps} steps")
