"""What the cameras show, and what is said where nothing can draw."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from tests.child_process import run_child

from forehand import Episode
from forehand.utils.rendering import choose_renderer
from forehand_tabletop.blocks.blocks import BLOCKS
from forehand_tabletop.blocks.robot import TabletopRobot


def pixels(image: np.ndarray, block: str) -> int:
    """How many pixels are clearly of the block's colour."""
    image = image.astype(int)
    channel = BLOCKS.index(block)
    others = np.delete(image, channel, axis=-1).max(axis=-1)
    return int((image[..., channel] > 1.6 * others).sum())


@pytest.mark.parametrize("seed", range(6))
def test_the_static_camera_sees_every_block(robot: TabletopRobot, seed: int) -> None:
    image = robot.reset(Episode("lift", "lift the red block", seed, 60, {"block": "red"})).images["static"]
    for block in BLOCKS:
        assert pixels(image, block) > 50
        rows, columns = image.shape[0] // 2, image.shape[1] // 2
        small = image.reshape(rows, 2, columns, 2, 3).mean(axis=(1, 3))
        assert pixels(small, block) > 10  # still there at half the size


@pytest.mark.parametrize("block", BLOCKS)
def test_the_wrist_camera_sees_the_block_between_the_fingers(robot: TabletopRobot, block: str) -> None:
    robot.reset()
    robot.simulation.place_block(block, robot.simulation.tool_position - (0, 0, 0.02))
    image = robot.observe().images["wrist"]
    assert pixels(image[image.shape[0] // 2 :], block) > 400


@pytest.mark.parametrize("block", BLOCKS)
def test_a_pushed_block_is_still_in_view(robot: TabletopRobot, block: str) -> None:
    robot.reset()
    for y in (-0.17, 0.17):
        robot.simulation.place_block(block, np.array([0.63 + 0.09, y, 0.02]))
        assert pixels(robot.observe().images["static"], block) > 80


def run_without_screen(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    return run_child([sys.executable, "-c", code], env=environment | variables, deadline=120)


CONNECT = "from forehand import registry; robot = registry().create('robot', 'tabletop'); robot.connect()"


@pytest.mark.slow
def test_without_a_screen_a_renderer_is_chosen() -> None:
    ran = run_without_screen(CONNECT + "; import os; print(os.environ['MUJOCO_GL']); robot.close()")
    assert ran.stdout.strip() in ("egl", "osmesa"), ran.stderr
    assert not ran.stderr


def test_leaving_without_closing_is_quiet() -> None:
    ran = run_without_screen(CONNECT)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_where_nothing_can_draw_the_error_names_the_packages() -> None:
    ran = run_without_screen(CONNECT, MUJOCO_GL="disable")
    assert ran.returncode != 0
    assert "RenderingError" in ran.stderr
    assert "libegl1 libgles2 libgl1-mesa-dri libosmesa6" in ran.stderr


def test_a_renderer_that_was_chosen_already_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    choose_renderer()
    assert os.environ["MUJOCO_GL"] == "glfw"
