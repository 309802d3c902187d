"""Run where the plugin is installed: LeRobot finds the policy type, and its actions are those of the server."""

import sys

import torch
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from lerobot.policies import make_policy, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins

register_third_party_plugins()
from lerobot.envs.configs import EnvConfig  # noqa: E402

print("environment found:", "forehand_tabletop" in EnvConfig.get_known_choices())
config = PreTrainedConfig.get_choice_class("forehand_remote")(
    address=sys.argv[1],
    device="cpu",
    cameras={"static": "observation.images.front"},
    n_action_steps=2,
)
environment = EnvConfig.get_choice_class("forehand_tabletop")()
policy = make_policy(config, env_cfg=environment)
before, after = make_pre_post_processors(config)
assert environment.features["action"] == PolicyFeature(FeatureType.ACTION, (7,))

generator = torch.Generator().manual_seed(0)


def observe(rows):
    pixels = torch.randint(0, 256, (rows, 3, 24, 32), generator=generator, dtype=torch.uint8)
    wrist = torch.randint(0, 256, (rows, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return {
        "observation.images.front": pixels / 255,
        "observation.images.wrist": wrist / 255,
        "observation.state": torch.randn(rows, 7, generator=generator),
        "task": ["push"] * rows,
    }


first = observe(2)
state = first["observation.state"]
mean = (first["observation.images.front"] * 255).round().mean(dim=(1, 2, 3), dtype=torch.float64)
chunk = policy.predict_action_chunk(before(dict(first)))
print("actions are the server's:", torch.equal(chunk[:, 0], state))
print("pictures arrive as they are:", torch.allclose(chunk[:, 1, 0].double(), mean, atol=1e-3))
taken = [after(policy.select_action(before(dict(o)))) for o in (first, observe(2), observe(2))]
print("a chunk is carried out before the next question:", torch.equal(taken[1], chunk[:, 1]))
print("the next question is a new one:", not torch.equal(taken[2], state))
policy.reset()
print("after a reset:", torch.equal(policy.select_action(before(dict(first))), state))
try:
    policy.predict_action_chunk(before({**first, "observation.state": torch.zeros(2, 3)}))
except Exception as error:
    print(f"{type(error).__name__}: {error}")

chains = EnvConfig.get_choice_class("forehand_tabletop_chains")(task="turn_on_light", image_size=16)
((light,),) = (suite.values() for suite in chains.create_envs(1).values())
light.reset(seed=[0])
ours = light.envs[0].unwrapped
expert, over = ours._benchmark.expert(ours._robot, ours.episode, 0), False
while not over:
    _, _, terminated, truncated, info = light.step(expert.act()[None])
    over = terminated[0] or truncated[0]
print("success is told:", bool(info["final_info"]["is_success"][0]))
light.close()
