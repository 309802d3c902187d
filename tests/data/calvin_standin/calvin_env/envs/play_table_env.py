"""A world with the interface of CALVIN's: a hand that moves as told, and with the gripper closed takes things along.

Along x the slider, along y the drawer; above 0.7 m the light bulb is on. Like the original there is one at a time.
"""

from types import SimpleNamespace

import numpy as np

made = []


def get_git_commit_hash(path):
    raise ValueError(f"{path} is in no clone")


class PlayTableSimEnv:
    def __init__(self, seed, use_vr, cameras, show_gui, scene_cfg, use_scene_info, use_egl):
        get_git_commit_hash(__file__)
        assert not any(other.open for other in made)
        assert use_scene_info
        assert not use_vr
        assert not show_gui
        self.scene, self.use_egl, self.cameras = scene_cfg.name, use_egl, cameras
        self.open = self.ownsPhysicsClient = True
        self.robot = SimpleNamespace(gripper_action=1)
        self.actions = []
        made.append(self)

    def close(self):
        self.open = False

    def reset(self, robot_obs=None, scene_obs=None):
        self.hand, self.scene_obs = robot_obs[:6].copy(), scene_obs.copy()
        return self.get_obs()

    def get_obs(self):
        pictures = {f"rgb_{n}": np.full((c.height, c.width, 3), 7, np.uint8) for n, c in self.cameras.items()}
        pictures["rgb_static"][0, 0] = 255
        body = [0.08, *np.arange(7) / 10]
        robot_obs = np.array([*self.hand, *body, self.robot.gripper_action])
        return {"rgb_obs": pictures, "robot_obs": robot_obs, "scene_obs": self.scene_obs.copy()}

    def get_info(self):
        slider, drawer, _, _, bulb, led = self.scene_obs[:6]
        doors = {"base__slide": {"current_state": slider}, "base__drawer": {"current_state": drawer}}
        lights = {"lightbulb": {"logical_state": int(bulb)}, "led": {"logical_state": int(led)}}
        return {"robot_info": {}, "scene_info": {"doors": doors, "lights": lights}}

    def step(self, action):
        assert action[6] in (-1, 1)
        self.actions.append(action.copy())
        self.robot.gripper_action = int(action[6])
        self.hand += action[:6] * ([0.02] * 3 + [0.05] * 3)
        if action[6] == -1:
            self.scene_obs[:2] = self.scene_obs[:2] + action[:2] * 0.02
        self.scene_obs[4] = self.hand[2] > 0.7
        return self.get_obs(), 0, False, self.get_info()
