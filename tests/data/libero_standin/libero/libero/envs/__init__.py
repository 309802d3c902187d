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


class Camera:
    """An observable: what it shows is what its sensor returns."""

    def __init__(self, sensor):
        self._sensor = sensor


class Inner:
    """What the wrapper holds: the environment of robosuite."""

    def __init__(self, size, ignore_done):
        self.size, self.processors, self.resets, self.failures = size, [], 0, 1
        assert ignore_done
        self.fixture = np.random.uniform()
        self.robots = [SimpleNamespace(controller=Controller(), gripper=SimpleNamespace(current_action=np.zeros(1)))]
        self.drawn, self.object_property_initializers = 0, []
        places = (
            "xpos xquat xmat xipos ximat geom_xpos geom_xmat site_xpos site_xmat cam_xpos cam_xmat light_xpos light_xdir"
        )
        data = SimpleNamespace(**{name: np.zeros(3) for name in places.split()})
        model = SimpleNamespace(geom_rgba=np.zeros(4), site_rgba=np.zeros(4))
        self.sim = SimpleNamespace(
            data=SimpleNamespace(qacc_warmstart=np.zeros(2), _data=data), model=SimpleNamespace(_model=model)
        )
        self._observables = self._setup_observables()

    def _setup_observables(self):
        return {
            "agentview_image": Camera(lambda cache: self.picture()),
            "robot0_eye_in_hand_image": Camera(lambda cache: self.picture() // 2),
        }

    def set_xml_processor(self, processor):
        self.processors.append(processor('<mujoco><visual><quality shadowsize="1"/></visual></mujoco>'))

    def reset(self):
        self.resets += 1
        self.object_property_initializers.append(np.random.uniform)
        for name, observable in self._setup_observables().items():
            self._observables[name]._sensor = observable._sensor
        if self.failures:
            self.failures -= 1
            raise RandomizationError("the objects do not fit")
        for draw in self.object_property_initializers:
            draw()
        self.fixture = np.random.uniform()
        self.robots[0].controller = Controller()
        self.put(np.concatenate([[0.0], np.random.uniform(-0.2, 0.2, 6)]))
        return self.readings()

    def put(self, state):
        self.eef, self.target, self.gripper = state[1:4].copy(), state[4:7].copy(), -1.0

    def picture(self):
        """Darker towards the camera's top, and drawn from bottom to top; left is red; its middle is the hand's height."""
        self.drawn += 1
        picture = np.zeros((self.size, self.size, 3), np.uint8)
        picture[..., 1] = np.linspace(0, 200, self.size, dtype=np.uint8)[:, None]
        picture[:, : self.size // 2, 0] = 255
        picture[..., 2] = int(255 * self.fixture)
        picture[self.size // 2, self.size // 2] = int(100 + 200 * self.sim.data._data.site_xpos[2]) % 256
        return picture[::-1]

    def readings(self):
        self.sim.data._data.site_xpos[:] = self.eef
        width = 0.02 - 0.02 * self.gripper
        return {
            **{name: observable._sensor({}) for name, observable in self._observables.items()},
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
