"""Every number that a command takes is checked by its name before the command starts."""

from collections.abc import Iterator
from itertools import product

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from forehand.errors import ConfigurationError
from forehand_apps.cli.numbers import FINITE, check_numbers
from forehand_apps.main import COMMANDS, configuration_name

MEANT_OTHERWISE = {"robot.options.episode", "launch.processes"}
"""A number that is a name, and one that may be the word auto, which is checked where processes are started."""
NULL = ("max_steps", "workers", "threads", "num_videos", "policy.jpeg", "recipe.epochs", "recipe.warmup_epochs")
"""Options of which null means something, and otherwise a number."""


def numbers(config, prefix="") -> Iterator[str]:
    for key in config:
        value = OmegaConf.select(config, str(key))
        if isinstance(value, DictConfig):
            yield from numbers(value, f"{prefix}{key}.")
        elif (isinstance(value, int | float) and not isinstance(value, bool)) or f"{prefix}{key}" in NULL:
            yield f"{prefix}{key}"


def composed(command):
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        config = compose(configuration_name(command))
    OmegaConf.set_struct(config, False)
    return config


@pytest.fixture
def with_plugins():
    """Hydra finds the parts of plugins as the command does."""

    from forehand_apps.cli.execution import prepare

    prepare()


@pytest.mark.slow
@pytest.mark.parametrize(("command", "bad"), list(product(COMMANDS, [float("nan"), float("inf"), -1])))
def test_no_number_of_a_command_is_left_out(command, bad, with_plugins):
    config = composed(command)
    check_numbers(config)
    for name in set(numbers(config)) - MEANT_OTHERWISE - (set(FINITE) if bad == -1 else set()):
        if command == "train" and name.startswith("policy."):
            continue  # the sizes of a policy's parts, which are the parts' own affair
        wrong = config.copy()
        OmegaConf.update(wrong, name, bad)
        with pytest.raises(ConfigurationError) as caught:
            check_numbers(wrong)
        assert str(caught.value).startswith(f"{name} must be ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "policy_timeout=-1"), "policy_timeout must be a positive number, not -1."),
        (("run", "policy.timeout=nan"), "policy.timeout must be a positive number, not nan."),
        (("run", "reconnect_timeout=inf"), "reconnect_timeout must be 0 or a positive number, not inf."),
        (("robot", "watchdog=soon"), "watchdog must be a positive number, not 'soon'."),
        (
            ("serve", "adapters=[openpi_libero]", "adapters.openpi.timeout=0"),
            "adapters.openpi.timeout must be a positive number",
        ),
        (("robot", "robot=lerobot", "robot.options.rate=0"), "robot.options.rate must be a positive number, not 0."),
        (("eval", "policy.latency=null"), "policy.latency must be a number, not null."),
        (("eval", "policy.max_batch=0"), "policy.max_batch must be a whole number, at least 1, not 0."),
    ],
)
def test_the_command_says_so_before_it_starts(forehand, arguments, words):
    done = forehand(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
