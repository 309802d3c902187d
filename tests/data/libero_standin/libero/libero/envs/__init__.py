"""A world with the interface of LIBERO's: an end effector, a target, and a fixture that every reset places at random.

The goal is reached where the end effector is at the target and the gripper closes.
"""

from types import SimpleNamespace

import numpy as np
from robosuite.utils.errors import RandomizationError


class Controller:
    """Its goal stays from one command to the next, as that of the orientation does."""

    goal: object

    def __init__(self):
        self.goal = np.zeros(3)


class Inner:
    """What the wrapper holds: the environment of robosuite."""

    def __init__(self, size, ignore_done):
        self.size, self.processors, self.resets, self.failures = size, [], 0, 1
        assert ignore_done
        self.fixture = np.random.uniform()
        self.robots = [SimpleNamespace(controller=Controller(), gripper=SimpleNamespace(current_action=np.zeros(1)))]
        self._observables = {}
        self.sim = SimpleNamespace(data=SimpleNamespace(qacc_warmstart=np.zeros(2)))

    def set_xml_processor(self, processor):
        self.processors.append(processor('<mujoco><visual><quality shadowsize="1"/></visual></mujoco>'))

    def reset(self):
        self.resets += 1
        if self.failures:
            self.failures -= 1
            raise RandomizationError("the objects do not fit")
        self.fixture = np.random.uniform()
        self.robots[0].controller = Controller()
        self.put(np.concatenate([[0.0], np.random.uniform(-0.2, 0.2, 6)]))
        return self.readings()

    def put(self, state):
        self.eef, self.target, self.gripper = state[1:4].copy(), state[4:7].copy(), -1.0

    def readings(self):
        """Pictures are darker towards the camera's top, and drawn from bottom to top; left is red."""
        picture = np.zeros((self.size, self.size, 3), np.uint8)
        picture[..., 1] = np.linspace(0, 200, self.size, dtype=np.uint8)[:, None]
        picture[:, : self.size // 2, 0] = 255
        picture[..., 2] = int(255 * self.fixture)
        width = 0.02 - 0.02 * self.gripper
        return {
            "agentview_image": picture[::-1],
            "robot0_eye_in_hand_image": picture[::-1] // 2,
            "robot0_eef_pos": self.eef.copy(),
            "robot0_eef_quat": np.array([0.96, 0.0, 0.0, -0.28]),
            "robot0_gripper_qpos": np.array([width, -width]),
        }


class OffScreenRenderEnv:
    def __init__(self, bddl_file_name, camera_names, camera_heights, camera_widths, control_freq, ignore_done):
        assert list(camera_names) == ["agentview", "robot0_eye_in_hand"]
        assert (camera_heights, control_freq) == (camera_widths, 20)
        self.bddl_file_name, self.language_instruction = bddl_file_name, "reach the target and close"
        self.env = Inner(camera_heights, ignore_done)
        self.actions = []

    def reset(self):
        raise AssertionError("this one swallows every error")

    def set_init_state(self, state):
        self.env.put(state)
        return self.env.readings()

    def step(self, action):
        assert action.shape == (7,)
        self.actions.append(action)
        controller = self.env.robots[0].controller
        controller.goal = 0.5 * controller.goal + 0.05 * np.clip(action[:3], -1, 1)
        self.env.eef = self.env.eef + controller.goal
        self.env.gripper = float(action[6])
        return self.env.readings(), 0.0, self.check_success(), {}

    def check_success(self):
        return bool(np.abs(self.env.eef - self.env.target).max() < 0.01 and self.env.gripper > 0)

    def close(self):
        self.env = None
