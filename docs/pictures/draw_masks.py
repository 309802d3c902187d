"""Draw masks.png: the tokens of Seer's presets and who reads whom, by the code that makes their attention masks.

The picture carries what it shows as text too ("Description"), by which a test knows whether it is up to date.

python docs/pictures/draw_masks.py [folder]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from hydra import compose, initialize_config_module
from numpy.typing import NDArray

from forehand import Camera, Contract, Field
from forehand.compose import ComposedPolicy, Layout, TokenGroup, read_mask
from forehand.learning.checkpoint import build_policy

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

PRESETS = {
    "seer_calvin": "Fine-tuning: foresight looks at what was seen, actions look at both",
    "seer_calvin_pretraining": (
        "Pre-training: foresight reads the state 4 steps ahead; actions follow from what is seen and foreseen"
    ),
}
BEFORE, AFTER = 2, 4  # timesteps drawn around the reader's own
COLOURS = {"observation": "#3b82c4", "foresight": "#8a5cd1", "action": "#d9822b"}
INK, FAINT, PAPER = "#24292f", "#e4e7eb", "#fbfbfc"


def preset(name: str) -> ComposedPolicy:
    """Seer at full size, without memory for its weights."""
    with initialize_config_module("forehand_seer.conf", version_base=None):
        config = compose(overrides=[f"+policy={name}"]).policy
    contract = Contract(
        cameras=(Camera("primary", 224, 224), Camera("wrist", 224, 224)),
        state=(Field("arm", 6), Field("gripper", 1, gripper="open")),
        action=(Field("arm", 6), Field("gripper", 1, gripper="open")),
        rate=30.0,
    )
    with torch.device("meta"):
        policy: ComposedPolicy = build_policy(config, contract, {})
        return policy


def colour(group: TokenGroup) -> str:
    """By what a group is for."""
    return next(c for key, c in COLOURS.items() if group.matches(key))


def token_groups(policy: ComposedPolicy) -> list[TokenGroup]:
    """The groups of a timestep, in the order of their tokens."""
    return [*policy.groups, *(part.group for part in policy.query_parts.values())]


def group_mask(policy: ComposedPolicy) -> NDArray[np.bool_]:
    """What each group at timestep t reads at t - 2 to t + 4: (groups, timesteps, groups)."""
    # One token stands for its group: all tokens of a group read, and are read, alike.
    single = [TokenGroup(g.name, 1, g.tags) for g in token_groups(policy)]
    observed, steps = len(policy.groups), BEFORE + 1 + AFTER
    layout = Layout(single[:observed], single[observed:], steps, range(steps))
    mask = read_mask(layout, policy.reads).reshape(steps, len(single), steps, len(single))
    return mask[BEFORE]


def as_text(policies: Mapping[str, ComposedPolicy]) -> str:
    """What the picture shows."""
    lines = []
    for name, policy in policies.items():
        groups, mask = token_groups(policy), group_mask(policy)
        lines.append(f"{name}, history {policy.history}: {', '.join(f'{g.count} {g.name}' for g in groups)}")
        for group, row in zip(groups, mask, strict=True):
            drawn = " ".join("".join("#" if cell else "." for cell in step) for step in row)
            lines.append(f"{group.name:>16} {drawn}")
    return "\n".join(lines)


def draw_layout(axes: Any, policy: ComposedPolicy) -> None:
    """One cell for each token of a timestep, and their groups' names."""
    position = 0
    for group in token_groups(policy):
        for token in range(group.count):
            axes.add_patch(Rectangle((position + token + 0.07, 0.07), 0.86, 0.86, color=colour(group), linewidth=0))
        middle, slim = position + group.count / 2, group.count == 1
        axes.text(
            middle,
            -0.25 if slim else 1.3,
            f"{group.name} · {group.count}",
            ha="left" if slim else "center",
            va="bottom" if slim else "top",
            rotation=25 if slim else 0,
            rotation_mode="anchor",
            color=colour(group),
        )
        position += group.count + 0.35
    axes.set_title("A timestep's tokens, in order; the sequence is timestep after timestep", **title_style(58))
    axes.set(xlim=(-0.2, position), ylim=(2.2, -0.2), aspect="equal")
    axes.axis("off")


def draw_mask(axes: Any, policy: ComposedPolicy, title: str) -> None:
    """One row for each group at timestep t, one column for each group at each timestep from t - 2 to t + 4."""
    groups, mask = token_groups(policy), group_mask(policy)
    width, gap = len(groups), 0.8
    for row, reader in enumerate(groups):
        axes.text(-0.5, row + 0.5, reader.name, ha="right", va="center", color=colour(reader))
        for timestep in range(mask.shape[1]):
            for column, read in enumerate(groups):
                x = column + (width + gap) * timestep
                shade = colour(read) if mask[row, timestep, column] else FAINT
                axes.add_patch(Rectangle((x + 0.07, row + 0.07), 0.86, 0.86, color=shade, linewidth=0))
    for timestep in range(mask.shape[1]):
        middle = timestep * (width + gap) + width / 2
        offset = timestep - BEFORE
        label = "t" if offset == 0 else f"t {'+' if offset > 0 else '−'} {abs(offset)}"
        axes.text(middle, -0.35, label, ha="center", va="bottom", color=INK, weight="bold" if offset == 0 else "normal")
    axes.set_title(title, **title_style(24))
    axes.set(xlim=(-0.2, mask.shape[1] * (width + gap) - gap), ylim=(width, 0), aspect="equal")
    axes.axis("off")


def title_style(pad: int) -> dict[str, Any]:
    """How headings look."""
    return {"loc": "left", "color": INK, "pad": pad, "fontsize": 12, "weight": "bold"}


def main(folder: Path) -> None:
    """Write masks.png into ``folder``."""
    policies = {name: preset(name) for name in PRESETS}
    figure, panels = plt.subplots(1 + len(PRESETS), 1, figsize=(12, 7.0), height_ratios=(2.6, 4, 4), facecolor="none")
    card = FancyBboxPatch(
        (0.008, 0.012), 0.984, 0.976, boxstyle="round,pad=0,rounding_size=0.015", transform=figure.transFigure
    )
    card.set(facecolor=PAPER, edgecolor=FAINT, zorder=-1)
    figure.add_artist(card)
    draw_layout(panels[0], next(iter(policies.values())))
    for axes, (name, title) in zip(panels[1:], PRESETS.items(), strict=True):
        draw_mask(axes, policies[name], title)
    how = (
        "A row is a group of tokens at timestep t; a filled cell is a group that it reads, in the same order.   "
        "Blue: observation, violet: foresight, orange: action."
    )
    figure.text(0.5, 0.03, how, ha="center", color=INK)
    figure.subplots_adjust(left=0.125, right=0.98, top=0.855, bottom=0.07, hspace=0.3)
    figure.savefig(folder / "masks.png", dpi=150, metadata={"Description": as_text(policies)})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
