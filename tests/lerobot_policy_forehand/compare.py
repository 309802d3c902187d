"""Run where the plugin is installed: a policy that LeRobot trained is the same in LeRobot and in Forehand."""

import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies import make_pre_post_processors
from lerobot.policies.factory import get_policy_class
from lerobot.utils.import_utils import register_third_party_plugins

from forehand import Observation
from forehand.data.dataset import Dataset
from forehand.data.windows import WindowDataset
from forehand.learning.checkpoint import load_policy

register_third_party_plugins()
folder, root = Path(sys.argv[1]), Path(sys.argv[2])
config = PreTrainedConfig.from_pretrained(folder)
theirs = get_policy_class("forehand").from_pretrained(folder, config=config)
before, after = make_pre_post_processors(config, pretrained_path=str(folder))
ours = load_policy(folder)
data = Dataset.open(root)
print("the contract is that of the dataset:", ours.contract == data.contract)

rate = data.contract.rate
steps = {"action": config.action_delta_indices}
steps |= dict.fromkeys(("observation.images.static", "observation.images.wrist"), config.observation_delta_indices)
steps["observation.state"] = config.observation_delta_indices
frames = LeRobotDataset(
    "local/data",
    root=root,
    delta_timestamps={key: [i / rate for i in indices] for key, indices in steps.items()},
)
batch = torch.utils.data.default_collate([frames[i] for i in range(len(frames) - 12, len(frames))])
seen = []
theirs.policy.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
theirs(before(dict(batch)))
windows = WindowDataset(data, ours.window, cache=sys.argv[3])
expected = windows.batch(range(len(windows) - 12, len(windows)))
same = True
for side, values in expected.items():
    assert set(values) == set(seen[0][side]), (side, set(values), set(seen[0][side]))
    for key, value in values.items():
        found = seen[0][side][key]
        if isinstance(value, list):
            same &= found == value
        elif value.dtype == torch.uint8:  # decoders differ in the last level
            same &= found.shape == value.shape and (found.int() - value.int()).abs().max().item() <= 3
        else:
            same &= found.shape == value.shape and torch.allclose(found.to(value.dtype), value)
print("windows are those of forehand train:", same)
print("some of a chunk is padding:", not expected["target"]["actions_valid"].all().item())

generator = np.random.default_rng(0)
session, gaps = ours.open("push the red block"), []
for _ in range(4):
    images = {c.name: generator.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in ours.contract.cameras}
    state = generator.standard_normal(ours.contract.state_size).astype(np.float32)
    row = {f"observation.images.{c}": torch.from_numpy(i).permute(2, 0, 1)[None] / 255 for c, i in images.items()}
    row |= {"observation.state": torch.from_numpy(state)[None], "task": ["push the red block"]}
    action = after(theirs.select_action(before(row)))[0].numpy()
    gaps.append(np.abs(action - ours.step([session], [Observation(images, state, 0.0)])[0].actions[0]).max())
print("actions are the same:", max(gaps) < 1e-6)
