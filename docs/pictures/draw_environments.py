"""Draws environments.jpg: the four environments of tabletop-chains in high render quality, side by side."""

from pathlib import Path

import numpy as np
from PIL import Image

from forehand import registry

SIZE = 440  # pixels, of each


def main() -> None:
    """Draw the portrait of each environment's showcase."""
    robot = registry().create("robot", "tabletop-chains").for_rendering(2 * SIZE, overview=True)
    robot.connect()
    showcases = registry().create("benchmark", "tabletop-chains").showcases(seed=0)
    scenes = [showcase.trial[0] for showcase in showcases if showcase.section == "Environments"]
    portraits = [Image.fromarray(robot.reset(scene).images["portrait"]).resize((SIZE, SIZE)) for scene in scenes]
    robot.close()
    Image.fromarray(np.concatenate([np.asarray(one) for one in portraits], axis=1)).save(
        Path(__file__).with_name("environments.jpg"), quality=88
    )


if __name__ == "__main__":
    main()
