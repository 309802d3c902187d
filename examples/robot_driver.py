"""Write a robot driver, check it, and drive it inside its limits.

python examples/robot_driver.py
"""

import numpy as np

from forehand import Camera, Contract, Episode, Field, Observation, Robot
from forehand.conformance import assert_robot_conforms
from forehand.control.limited_robot import LimitedRobot

STEP = 0.01  # m, the farthest that a target may move in one control step


class Gantry(Robot):
    """A three-axis gantry with one camera; replace the lines marked "your …" with your hardware."""

    contract = Contract(
        cameras=(Camera("static", 128, 128, role="static"),),
        state=(Field("position", 3, unit="m", frame="base", mode="absolute"),),
        action=(
            Field(
                "position",
                3,
                unit="m",
                frame="base",
                mode="delta",
                low=(-STEP,) * 3,
                high=(STEP,) * 3,
                workspace_low=(-0.05,) * 3,  # LimitedRobot keeps every target inside this box
                workspace_high=(0.05,) * 3,
            ),
        ),
        rate=20.0,  # Hz
    )

    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring the gantry to the start of ``episode``."""
        self.position, self.ticks = np.zeros(3, np.float32), 0
        return self.observe()

    def observe(self) -> Observation:
        """The camera's image and the measured position, now."""
        image = np.zeros((128, 128, 3), np.uint8)  # your camera
        return Observation({"static": image}, self.position.copy(), time=self.ticks / self.contract.rate)

    def act(self, action: np.ndarray) -> np.ndarray:
        """Start one motion; returns what was commanded."""
        if action.shape != (3,) or not np.isfinite(action).all():
            raise ValueError(f"three finite numbers are needed, not {action}")
        commanded = action.clip(-STEP, STEP).astype(np.float32)
        self.position += commanded  # your motors
        self.ticks += 1
        return commanded

    def hold(self) -> None:
        """Stay where you are; called when no command came in time."""


if __name__ == "__main__":
    assert_robot_conforms(Gantry)  # the same line belongs into your driver's tests

    # `forehand run`, `eval` and the robot host put every driver behind this wrapper.
    robot = LimitedRobot(Gantry())
    robot.connect()
    robot.reset()
    for _ in range(8):
        robot.act(np.array([0.02, 0.0, 0.0], np.float32))  # twice as far as allowed
    print("position", robot.observe().state.round(3), "m")
    for (field, limit), count in robot.counts.items():
        print(f"{field}: {limit} cut {count} numbers")
    robot.close()
