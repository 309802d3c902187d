"""Every command and every line of Python on docs/guides/seer.md can be typed."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

from forehand_apps.cli.execution import prepare
from forehand_apps.main import CHOOSES
from forehand_seer import released

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "seer.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
LINES = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_commands_are_understood(line):
    program, command, *words = shlex.split(line)
    assert program == "forehand"
    words = [f"{CHOOSES[command]}={word}" if "=" not in word else word for word in words]
    prepare()
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        config = compose(command, overrides=words)
    if preset := next((w for w in words if w.startswith("preset=")), None):
        assert ("init" in line) == preset.endswith("finetuning")
        assert config.recipe.batch_size * config.recipe.gradient_accumulation_steps in (512, 640)


def test_the_python_runs(seer, monkeypatch):
    whole = released.configuration

    def small(**flags):
        config = whole(**{"hidden_dim": 64, "transformer_heads": 4, "transformer_layers": 1, **flags})
        config["encoders"]["cameras"]["tower"] |= {"width": 64, "layers": 1, "heads": 1}
        return config

    monkeypatch.setattr(released, "configuration", small)
    names = {**seer.inputs("page", 10, width=False), "state_dict": seer.generated(released.build())}
    (text,) = (text for language, text in BLOCKS if language == "python")
    exec(text, names)
    assert names["foresight"].shape == (1, 10, 2, 196, 768)
    assert names["chunk"].shape == (3, 7)
    torch.testing.assert_close(names["chunk"][:, :6], names["arm_action"][0, 0])
