"""docs/guides/python.md runs from its beginning to its end, as a notebook does."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/guides/python.md"


@pytest.mark.slow
def test_the_page_runs_block_by_block(in_process, own_process, capfd):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    with own_process(FOREHAND_CACHE="cache"):
        done = in_process("record", "robot=tabletop", "output=data/blocks", "episodes=3", "workers=1")
        assert done.returncode == 0, done.stderr
        names = {"__name__": "__main__"}
        for block in blocks:
            exec(compile(block, PAGE.name, "exec"), names)
        trained = set(names["trained"].state_dict())
    said = capfd.readouterr().out
    assert "20 " in said
    assert "validation/action_error/position" in said
    assert re.search(r"success \d\.\d\d \[.*\] of 1", said)
    assert trained == set(names["policy"].state_dict())
    assert len(names["from_objects"].backbone.blocks) == 2
