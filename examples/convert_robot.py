"""Export a contract, compare it with another robot's, and convert that robot until it fits.

python examples/convert_robot.py
"""

import numpy as np

from forehand import Camera, Contract, Episode, Field, Observation, Robot
from forehand.contracts.compatibility import differences, possible_conversions
from forehand.control.converted_robot import ConvertedRobot

NEEDED = Contract(  # what a policy was trained on; a checkpoint holds it in contract.json
    cameras=(Camera("static", 64, 64, role="static"),),
    state=(Field("rotation", 3, unit="rad", rotation="axis_angle", mode="absolute"),),
    action=(Field("gripper", 1, gripper="closed", low=(0.0,), high=(1.0,), mode="absolute"),),
    rate=10.0,  # Hz
)


class OtherArm(Robot):
    """A robot whose camera, rotation and gripper have other conventions."""

    contract = Contract(
        cameras=(Camera("front", 128, 128, role="static"),),
        state=(Field("rotation", 3, unit="rad", rotation="euler_xyz_extrinsic", mode="absolute"),),
        action=(Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,), mode="absolute"),),
        rate=10.0,
    )

    def reset(self, episode: Episode | None = None) -> Observation:
        """Start anew."""
        return self.observe()

    def observe(self) -> Observation:
        """A grey image, and the hand turned by 0.5 rad about x."""
        return Observation({"front": np.full((128, 128, 3), 128, np.uint8)}, np.array([0.5, 0, 0], np.float32), time=0.0)

    def act(self, action: np.ndarray) -> np.ndarray:
        """Report what arrives at the driver."""
        print("the driver receives", action)
        return action

    def hold(self) -> None:
        """Nothing moves."""


if __name__ == "__main__":
    print(NEEDED.to_json())  # Contract.from_json reads it
    for mismatch in differences(NEEDED, OtherArm.contract):
        print(" -", mismatch)

    conversions = possible_conversions(NEEDED, OtherArm.contract)  # what `robot.convert=[…]` takes on the command line
    print("conversions:", conversions)

    arm = ConvertedRobot(OtherArm(), conversions)
    assert differences(NEEDED, arm.contract) == []
    print("image", arm.observe().images["static"].shape)
    print("commanded", arm.act(np.array([1.0], np.float32)))  # closed, in the policy's convention
