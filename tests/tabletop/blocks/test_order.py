"""What the joints say belongs to the moment before the cameras take their time."""

import numpy as np

from forehand_tabletop.blocks.robot import TabletopRobot


def test_proprioception_is_read_before_the_cameras():
    robot = TabletopRobot(image_size=32)
    robot.connect()
    try:
        before = robot.reset().state
        simulation, render = robot.simulation, robot.simulation.render

        def slow_cameras():
            robot.act(np.array([0.04, 0, 0, 0, 0, 0, -1], np.float32))  # the arm moves on while pictures are taken
            return render()

        simulation.render = slow_cameras
        np.testing.assert_array_equal(robot.observe().state, before)
        simulation.render = render
        assert not np.array_equal(robot.observe().state, before)
    finally:
        robot.close()
