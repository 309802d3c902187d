"""Third parties can do it: a plugin in a distribution of its own is installed, found, listed, composed and trained."""

import functools
import os
import sys
from pathlib import Path

import pytest
from tests.child_process import run_child

pytestmark = pytest.mark.slow

THIRD_PARTY = Path(__file__).parent / "third_party"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip installed the example plugin and a broken one, without the network."""
    target = tmp_path_factory.mktemp("site")
    sources = [str(THIRD_PARTY / name) for name in ("forehand_example", "forehand_broken")]
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    run_child([sys.executable, "-m", "pip", "install", *offline, "--target", str(target), *sources], check=True)
    return target


@pytest.fixture
def forehand(in_process, installed):
    return functools.partial(in_process, PYTHONPATH=str(installed))


def test_it_is_found_and_listed_beside_our_own(forehand):
    listing = forehand("plugins")
    assert listing.returncode == 0, listing.stderr
    (line,) = [line for line in listing.stdout.splitlines() if "forehand-example" in line]
    assert line.split() == ["example", "forehand-example", "1.2.3", "ok"]
    (part,) = [line for line in listing.stdout.splitlines() if "example/state" in line]
    assert "linear in the state" in part
    assert "seer/state" in listing.stdout


def test_a_broken_one_is_listed_with_its_reason_and_takes_nothing_down(forehand):
    listing = forehand("plugins")
    assert "broken is broken: ModuleNotFoundError: No module named 'a_library_nobody_has'" in listing.stdout
    assert "receding_horizon" in listing.stdout
    health = forehand("doctor")
    assert health.returncode == 1
    assert "a_library_nobody_has" in health.stdout
    assert "Repair or uninstall forehand-broken" in health.stdout


def test_loading_can_be_limited_to_named_plugins(forehand):
    listing = forehand("plugins", FOREHAND_PLUGINS="example")
    assert "example/nod" in listing.stdout
    assert "forehand-broken" not in listing.stdout
    assert "seer/state" not in listing.stdout


def test_its_configuration_is_a_choice_of_our_commands(forehand):
    page = forehand("train", "--help")
    assert page.returncode == 0, page.stderr
    assert "example_small" in page.stdout
    printed = forehand("train", "--cfg", "job", "policy=example_small", "dataset=x")
    assert "name: example/state" in printed.stdout


def test_it_is_composed_into_a_policy_that_learns_and_acts(installed):
    environment = {k: v for k, v in os.environ.items() if k != "FOREHAND_PLUGINS"} | {"PYTHONPATH": str(installed)}
    command = [sys.executable, THIRD_PARTY / "one_training_step.py"]
    step = run_child(command, env=environment)
    assert step.returncode == 0, step.stderr
    assert step.stdout.splitlines() == ["the foreign encoder learned: True", "actions: (3, 4)"]


def test_its_policy_drives_our_robot(forehand, tmp_path):
    judged = forehand(
        "eval", "policy.name=example/nod", "episodes=1", "tasks=[lift]", "num_videos=0", f"output={tmp_path}"
    )
    assert judged.returncode == 0, judged.stderr
    assert judged.stdout.splitlines()[-2].startswith("success 0.00")
