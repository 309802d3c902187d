"""CALVIN's raw readings, with the interface of ``calvin_env`` alone: run in the environment ``calvin``.

    python record_calvin.py CHECKOUT START.npz ACTIONS.npy OUTPUT.npz

Scene D, both cameras, EGL; a reset to ``robot_obs`` and ``scene_obs`` of START, then the actions (N, 7), whose gripper is
-1 or 1. Written are all readings (1 + N), pictures as bytes.
"""

import sys

import numpy as np
from hydra import compose, initialize_config_dir

checkout, start, actions, output = sys.argv[1:]
sys.path.insert(0, checkout)

import calvin_env.envs.play_table_env as play_table  # noqa: E402

play_table.get_git_commit_hash = lambda path: "unknown"
with initialize_config_dir(f"{checkout}/conf", version_base=None):
    chosen = ["scene=calvin_scene_D", "cameras=static_and_gripper", f"data_path={checkout}/data", "use_vr=false"]
    options = dict(compose("config_data_collection", chosen).env)
options = {key: value for key, value in options.items() if key not in ("_target_", "_recursive_")}
env = play_table.PlayTableSimEnv(**options | {"show_gui": False, "use_scene_info": True, "use_egl": True})
begin = np.load(start)
seen = [env.reset(robot_obs=begin["robot_obs"], scene_obs=begin["scene_obs"])]
for action in np.load(actions).astype(np.float64):
    seen.append(env.step(action)[0])
np.savez_compressed(
    output,
    rgb_static=np.stack([one["rgb_obs"]["rgb_static"] for one in seen]).astype(np.uint8),
    rgb_gripper=np.stack([one["rgb_obs"]["rgb_gripper"] for one in seen]).astype(np.uint8),
    robot_obs=np.stack([one["robot_obs"] for one in seen]),
)
