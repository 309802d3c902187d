"""Every script in examples/ runs, is short, and prints what it promises."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

EXPECTED = {
    "asynchronous_evaluation": "asynchronous, latency 0.3 s: success in 19 steps",
    "compose_policy": "actions (8, 6) forecast (64, 64, 3)",
    "convert_robot": "the driver receives [-1.]",
    "dataset_source": "13 windows of images (4, 48, 64, 3)",
    "openpi_adapter": "actions (8, 7)",
    "plugin_part": "LinearHead",
    "policy_server": "push the blue block: actions (8, 7)",
    "robot_driver": "position [0.05 0.   0.  ] m",
    "train_policy": "success ",
}
"""Script → a part of what it prints."""

SMALL = {"train_policy": ["--episodes", "2", "--steps", "2", "--trials", "1"]}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SMALL else []) for n in EXPECTED])
def test_the_example_runs(name, own_process, capfd):
    with own_process(FOREHAND_CACHE="cache"):
        sys.argv = [f"{name}.py", *SMALL.get(name, [])]
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert EXPECTED[name] in capfd.readouterr().out


def test_every_example_is_run_and_short():
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert [script.stem for script in scripts] == sorted(EXPECTED)
    assert {script.name: lines for script in scripts if (lines := len(script.read_text().splitlines())) > 80} == {}
