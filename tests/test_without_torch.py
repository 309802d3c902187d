"""A robot's computer has no torch: what it needs works all the same."""

import sys

import pytest
from tests.child_process import run_child

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "torchcodec", "lerobot", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
"""


def python(program, *arguments):
    return run_child([sys.executable, "-c", BLOCK + program, *arguments])


def forehand(*arguments):
    return python("from forehand_apps.main import main; main()", *arguments)


def test_the_block_blocks():
    assert "blocked" in python("import torch").stderr


@pytest.mark.slow
def test_what_a_robot_needs_imports():
    modules = [
        "forehand",
        "forehand.contracts.contract",
        "forehand.evaluation.evaluate",
        "forehand.running.episode_recorder",
        "forehand.control.chunking",
        "forehand.control.poses",
        "forehand.running",
        "forehand.wire",
        "forehand_apps.commands.eval",
        "forehand_apps.commands.robot",
        "forehand_apps.commands.run",
        "forehand_apps.commands.serve",
        "forehand_plugins.reference",
        "forehand_robots.gymnasium_robot",
        "forehand_robots.gymnasium_env",
        "forehand_robots.remote",
        "forehand_robots.hosted",
        "forehand_robots.hosting",
        "forehand_libero.robot",
        "forehand_libero.benchmark",
        "forehand_metaworld.robot",
        "forehand_metaworld.benchmark",
        "forehand_robots.replay",
        "forehand_tabletop.blocks.benchmark",
        "forehand_tabletop.blocks.robot",
    ]
    result = python("import importlib\n" + "\n".join(f"importlib.import_module({m!r})" for m in modules))
    assert result.returncode == 0, result.stderr


def test_every_part_is_registered_and_one_that_needs_torch_says_so():
    result = python("""
from forehand import registry
from forehand.errors import BrokenPlugin
assert all(p.error is None for p in registry().plugins()), registry().plugins()
assert {p.plugin for p in registry().parts()} >= {"stock", "seer", "robots", "tabletop"}
try:
    registry().create("backbone", "seer/backbone")
except BrokenPlugin as error:
    print(error)
""")
    assert result.returncode == 0, result.stderr
    assert "torch" in result.stdout
    assert "pip install" in result.stdout


@pytest.mark.slow
def test_plugins_are_listed():
    result = forehand("plugins")
    assert result.returncode == 0, result.stderr
    assert "seer/foresight" in result.stdout
    assert "broken" not in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["robot", "train"])
def test_help_needs_no_torch(command):
    result = forehand(command, "--help")
    assert result.returncode == 0, result.stderr
    assert f"forehand {command}" in result.stdout


@pytest.mark.slow
def test_the_doctor_says_which_commands_need_it():
    result = forehand("doctor")
    (line,) = [line for line in result.stdout.splitlines() if "torch:" in line]
    assert line.startswith("warn")
    assert "train" in line


@pytest.mark.slow
def test_a_command_that_needs_it_says_what_to_install(tmp_path):
    result = forehand("eval", f"policy.checkpoint={tmp_path}", f"output={tmp_path / 'out'}")
    assert result.returncode == 2
    assert "forehand[learning]" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_an_evaluation_runs(tmp_path):
    result = forehand(
        "eval", "policy.name=zero_action", "episodes=1", "tasks=[lift]", "num_videos=0", f"output={tmp_path}"
    )
    assert result.returncode == 0, result.stderr
    assert "success 0.00 [0.00, 0.79] n=1" in result.stdout
