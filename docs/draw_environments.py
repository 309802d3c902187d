"""Draws environments.jpg: the four environments of tabletop-chains in the pretty look, side by side."""

from pathlib import Path

import numpy as np
from PIL import Image

from forehand import registry

SIZE = 440  # pixels, of each


def main() -> None:
    """Draw the portrait of each environment's exhibit."""
    robot = registry().create("robot", "tabletop-chains").for_people(2 * SIZE, portrait=True)
    robot.connect()
    exhibits = registry().create("benchmark", "tabletop-chains").exhibits(seed=0)
    scenes = [exhibit.trial[0] for exhibit in exhibits if exhibit.section == "Environments"]
    portraits = [Image.fromarray(robot.reset(scene).images["portrait"]).resize((SIZE, SIZE)) for scene in scenes]
    robot.close()
    Image.fromarray(np.concatenate([np.asarray(one) for one in portraits], axis=1)).save(
        Path(__file__).with_name("environments.jpg"), quality=88
    )


if __name__ == "__main__":
    main()
