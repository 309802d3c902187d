"""Stands in for Meta-World: its interface, over a table of MuJoCo's on which a hand has to reach a goal."""

from types import SimpleNamespace

import mujoco
import numpy as np

MODEL = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="1 1 .1" rgba=".4 .4 .4 1"/>
    <body name="hand" pos="0 .6 .2" mocap="true"><geom size=".05" rgba="1 0 0 1"/>
      <camera name="gripperPOV" pos="0 0 .3"/>
    </body>
    <body name="goal" pos="0 .8 .1" mocap="true"><geom size=".05" rgba="0 0 1 1"/></body>
    <camera name="corner2" pos="0 0 2" xyaxes="-1 0 0 0 -.9 .4"/>
  </worldbody>
</mujoco>
"""


class Environment:
    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.data = mujoco.MjData(self.model)
        self.closed = False

    def set_task(self, task):
        self.goal = np.array(task.data)

    def reset(self, seed=None):
        self.data.mocap_pos[:] = [[0, 0.6, 0.2], self.goal]
        mujoco.mj_forward(self.model, self.data)
        self.fingers = 1.0
        return self._seen(), {}

    def step(self, action):
        assert action.shape == (4,)
        self.data.mocap_pos[0] += 0.01 * np.clip(action[:3], -1, 1)
        mujoco.mj_forward(self.model, self.data)
        self.fingers = 0.5 - 0.5 * float(action[3])
        success = float(np.linalg.norm(self.data.mocap_pos[0] - self.goal) < 0.05)
        return self._seen(), 0.0, False, False, {"success": success}

    def close(self):
        self.closed = True

    def _seen(self):
        return np.concatenate([self.data.mocap_pos[0], [self.fingers], np.zeros(32), self.goal])


class MT1:
    def __init__(self, env_name, seed=None):
        drawn = np.random.default_rng(seed).uniform((-0.1, 0.7, 0.1), (0.1, 0.8, 0.3), (50, 3))
        self.train_classes = {env_name: Environment}
        self.train_tasks = [SimpleNamespace(env_name=env_name, data=goal) for goal in drawn]
