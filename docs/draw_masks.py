"""Draw docs/masks.png: who reads whom in Seer's presets, by the code that makes their attention masks.

python docs/draw_masks.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
import torch
from hydra import compose, initialize_config_module

from forehand import Camera, Contract, Field
from forehand.checkpoint import build_policy
from forehand.compose import ComposedPolicy, Layout, TokenGroup, read_mask

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

PRESETS = {
    "seer_calvin": "Fine-tuning: foresight looks at what was seen, actions look at both",
    "seer_calvin_pretraining": (
        "Pre-training: foresight is told the state 4 steps ahead; actions follow from what is seen and foreseen"
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
    return next(c for key, c in COLOURS.items() if group.answers_to(key))


def draw(axes: Any, policy: ComposedPolicy, title: str) -> None:
    """One row for each group at timestep t, one column for each group at each timestep from t - 2 to t + 4."""
    queries = [part.group for part in policy.query_parts.values()]
    groups = [*policy.groups, *queries]
    steps = BEFORE + 1 + AFTER
    # One token stands for its group: all tokens of a group read, and are read, alike.
    single = [TokenGroup(g.name, 1, g.tags) for g in groups]
    layout = Layout(single[: len(policy.groups)], single[len(policy.groups) :], steps, range(steps))
    mask = read_mask(layout, policy.reads)

    width, gap = len(groups), 0.8
    for row, reader in enumerate(groups):
        read_by_row = mask[BEFORE * width + row]
        axes.text(-0.5, row + 0.5, f"{reader.name} · {reader.count}", ha="right", va="center", color=colour(reader))
        for column, block in enumerate(layout.blocks):
            x = column + gap * block.timestep
            shade = colour(block.group) if read_by_row[column] else FAINT
            axes.add_patch(Rectangle((x + 0.07, row + 0.07), 0.86, 0.86, color=shade, linewidth=0))
    for timestep in range(steps):
        middle = timestep * (width + gap) + width / 2
        offset = timestep - BEFORE
        label = "t" if offset == 0 else f"t {'+' if offset > 0 else '−'} {abs(offset)}"
        axes.text(middle, -0.35, label, ha="center", va="bottom", color=INK, weight="bold" if offset == 0 else "normal")
    axes.set_title(title, loc="left", color=INK, pad=24, fontsize=12, weight="bold")
    axes.set(xlim=(-0.2, steps * (width + gap) - gap), ylim=(width, 0), aspect="equal")
    axes.axis("off")


def main(folder: Path) -> None:
    """Write masks.png into ``folder``."""
    figure, panels = plt.subplots(len(PRESETS), 1, figsize=(12, 4.9), facecolor="none")
    card = FancyBboxPatch(
        (0.008, 0.012), 0.984, 0.976, boxstyle="round,pad=0,rounding_size=0.015", transform=figure.transFigure
    )
    card.set(facecolor=PAPER, edgecolor=FAINT, zorder=-1)
    figure.add_artist(card)
    for axes, (name, title) in zip(panels, PRESETS.items(), strict=True):
        draw(axes, preset(name), title)
    how = (
        "A row is a group of tokens at timestep t, with their number; a filled cell is a group that it reads.   "
        "Blue: observation, violet: foresight, orange: action."
    )
    figure.text(0.5, 0.04, how, ha="center", color=INK)
    figure.subplots_adjust(left=0.125, right=0.98, top=0.88, bottom=0.09, hspace=0.25)
    figure.savefig(folder / "masks.png", dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
