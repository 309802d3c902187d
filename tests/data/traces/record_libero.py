"""LIBERO's raw readings by Seer's protocol, with LIBERO's own interface alone: run in the environment ``libero``.

    python record_libero.py SUITE INDEX STATE ACTIONS.npy OUTPUT.npz

A new environment, reset, the fixed initial state, five steps of zeros, then the actions (N, 7). The generators are seeded
with 0 before the environment is made and before its reset. Written are all readings (1 + 5 + N), and the sentence.
"""

import os
import random
import sys

import numpy as np

os.environ.setdefault("MUJOCO_GL", "egl")

from libero.libero import benchmark
from libero.libero.envs import OffScreenRenderEnv

KEYS = ("agentview_image", "robot0_eye_in_hand_image", "robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")


def seed() -> None:
    np.random.seed(0)
    random.seed(0)


name, index, state, actions, output = sys.argv[1:]
suite = benchmark.get_benchmark(name)(task_order_index=0)
seed()
env = OffScreenRenderEnv(
    bddl_file_name=suite.get_task_bddl_file_path(int(index)),
    camera_names=["agentview", "robot0_eye_in_hand"],
    camera_heights=128,
    camera_widths=128,
    control_freq=20,
    ignore_done=True,
)
seed()
env.env.reset()
seen = [env.set_init_state(suite.get_task_init_states(int(index))[int(state)])]
for action in [*np.zeros((5, 7)), *np.load(actions).astype(np.float64)]:
    seen.append(env.step(action)[0])
env.close()
sentence = suite.get_task(int(index)).language
np.savez_compressed(output, sentence=sentence, **{key: np.stack([one[key] for one in seen]) for key in KEYS})
