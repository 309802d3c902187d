"""Compose a policy from registered parts, and print which token group reads which.

python examples/compose_policy.py
"""

import numpy as np

from forehand import Camera, Contract, Field, Observation
from forehand.compose import ComposedPolicy, Layout, TokenGroup, read_mask

CONTRACT = Contract(  # what the robot measures and accepts
    cameras=(Camera("front", 96, 96),),
    state=(Field("joints", 6, unit="rad", mode="absolute"),),
    action=(Field("joints", 6, unit="rad", mode="delta", low=(-0.1,) * 6, high=(0.1,) * 6),),
    rate=20.0,  # Hz
)

READS = {  # past: every timestep up to now; same: this one
    "observation": {"observation": "past"},
    "foresight": {"observation": "past"},
    "action": {"observation": "past", "foresight": "same"},  # without "foresight" it is plain behaviour cloning
}


def compose() -> ComposedPolicy:
    """A small policy with random weights: it predicts the front camera's image 4 steps ahead, and 8 actions."""
    return ComposedPolicy(
        contract=CONTRACT,
        statistics={"observation.state": {"mean": np.zeros(6), "std": np.ones(6)}},  # normally the dataset's
        dim=64,  # width of every token
        history=3,  # timesteps
        image_size=64,  # pixels
        encoders={
            "text": {"name": "ngram_text"},
            "state": {"name": "state_mlp"},
            "cameras": {"name": "keypoints", "cameras": ["front"], "tokens": 4},
        },
        backbone={"name": "transformer", "layers": 2, "heads": 4},
        world_model={"name": "appearance_flow", "cameras": ["front"], "horizon": 4},
        action_head={"name": "chunk_regression", "chunk": 8},
        reads=READS,
        normalization={"state": "mean_std", "action": "limits"},
    ).eval()


def print_mask(policy: ComposedPolicy) -> None:
    """One row for each group at each timestep, one column for each that it may read (#) or not (.)."""
    queries = [part.group for part in policy.query_parts.values()]
    groups = [TokenGroup(group.name, 1, group.tags) for group in (*policy.groups, *queries)]  # one token each will do
    mask = read_mask(Layout(groups, [], policy.history, ()), policy.reads)
    for row, reads in enumerate(mask):
        timestep, group = divmod(row, len(groups))
        cells = "".join("#" if cell else "." for cell in reads)
        columns = " ".join(cells[i : i + len(groups)] for i in range(0, len(cells), len(groups)))
        print(f"t{timestep} {groups[group].name:>12}  {columns}")


if __name__ == "__main__":
    policy = compose()
    print_mask(policy)

    session = policy.open("fold the towel")  # one robot's history; weights are shared by all sessions
    observation = Observation({"front": np.zeros((96, 96, 3), np.uint8)}, np.zeros(6, np.float32), time=0.0)
    (prediction,) = policy.step([session], [observation], forecast=True)
    assert prediction.forecast is not None
    print("actions", prediction.actions.shape, "forecast", prediction.forecast["front"].shape)
