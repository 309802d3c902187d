"""Environment ``metaworld``: Meta-World's simulator and its scripted experts."""

from __future__ import annotations

from pathlib import Path

from forehand.environments import EnvironmentSpec

CHECK = """
from forehand_metaworld.simulation import MetaworldSimulation
simulation = MetaworldSimulation(32)
simulation.begin("reach-v3", goal=0, seed=0)
assert simulation.readings()["static"].max() > 50, "the picture is black"
simulation.close()
"""


def metaworld() -> EnvironmentSpec:
    """What Meta-World needs; 0.6 GB. Gymnasium's MuJoCo environments import ``packaging``, and do not require it."""
    return EnvironmentSpec(
        requirements=("metaworld==3.1.1", "packaging"),
        python=">=3.12,<3.14",
        lock=Path(__file__).with_name("requirements.lock"),
        system=("libegl1", "libgles2", "libgl1-mesa-dri"),
        check=CHECK,
        versions=("metaworld", "mujoco", "gymnasium", "numpy"),
    )
