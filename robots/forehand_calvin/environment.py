"""Environment ``calvin``: what ``calvin_env`` needs, which comes from a checkout of the user's own."""

from __future__ import annotations

from pathlib import Path

from forehand.environments import EnvironmentSpec
from forehand_calvin.checkout import find_checkout

CHECK = """
from forehand_calvin.simulation import CalvinSimulation
simulation = CalvinSimulation({checkout!r}, renderer="cpu")
readings = simulation.begin("D")
assert readings["robot_obs"].shape == (15,)
assert readings["rgb_obs"]["rgb_static"].max() > 50, "the picture is black"
simulation.close()
"""


def calvin(checkout: str | None = None) -> EnvironmentSpec:
    """What CALVIN needs; pybullet is compiled, which takes ten minutes.

    checkout: folder of a clone of ``mees/calvin_env``, or of ``mees/calvin`` with it inside; it stays where it is.
    """
    return EnvironmentSpec(
        requirements=(
            "pybullet==3.2.7",
            "gym==0.26.2",
            "hydra-core==1.3.8",
            "hydra-colorlog",
            "numpy-quaternion",
            "opencv-python-headless",
            "pandas",
            "gitpython",
            "scipy",
        ),
        python=">=3.12,<3.14",  # calvin_env uses pkgutil.get_loader
        lock=Path(__file__).with_name("requirements.lock"),
        system=("g++", "libegl1", "libgles2", "libgl1-mesa-dri"),
        check=CHECK.format(checkout=None if checkout is None else str(find_checkout(checkout))),
        versions=("pybullet", "gym", "numpy", "scipy"),
    )
