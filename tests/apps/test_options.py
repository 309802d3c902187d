"""Options of every command: former and short spellings work, and what nothing reads is refused."""

import functools
import logging

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from forehand import registry
from forehand.errors import ConfigurationError
from forehand.utils import renames
from forehand_apps.cli.execution import prepare
from forehand_apps.cli.help import source
from forehand_apps.cli.options import present, search_path, settle, takes_more, unknown
from forehand_apps.main import COMMANDS, configuration_name

PLUGIN = """
from forehand import hookimpl

@hookimpl
def forehand_register(registry):
    for kind in ("robot", "benchmark", "policy", "execution", "converter", "door"):
        registry.add(kind, "dot", f"{__name__}:{kind}", f"a {kind}", aliases=["spot"] if kind == "robot" else [])

def robot(**options):
    from forehand.errors import ConfigurationError
    raise ConfigurationError(f"the robot dot was made with {options}")

def policy(*, contract, statistics=None, size=1):
    raise AssertionError

benchmark = execution = door = robot

def converter(*, output, size):
    from pathlib import Path
    print("converted with size", size)
    return Path(output)
"""


@pytest.fixture
def dotted(tmp_path, forehand):
    """Runs a command where a plugin is installed whose parts have no configuration files."""
    site = tmp_path / "site"
    about = site / "dots-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "dots_plugin.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dots\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[forehand]\ndots = dots_plugin\n")

    def run(*arguments):
        return forehand(*arguments, PYTHONPATH=str(site), FOREHAND_PLUGINS="stock,seer,robots,tabletop,dots")

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("robot", "robot=dot"), "the robot dot was made with {}"),
        (("robot", "robot=dot", "+robot.options.size=3"), "the robot dot was made with {'size': 3}"),
        (("robot", "robot=spot"), "the robot dot was made with {}"),
        (("eval", "benchmark=dot", "policy=zero_action"), "the robot dot was made with {}"),
        (("convert", "dot", "output=x", "+size=3"), "converted with size 3"),
        (("convert", "dot", "output=x"), "converter 'dot' was given options it cannot take: it needs size."),
        (("serve", "policy=random", "adapters=[dot]"), "adapters.dot.key_map does not say which keys are which"),
        (("eval", "robot=dto"), "robot=dto: there is no robot called 'dto'. Did you mean 'dot'"),
    ],
)
def test_a_part_without_a_file_is_chosen_by_its_name(dotted, arguments, words):
    result = dotted(*arguments)
    assert words in " ".join((result.stdout + result.stderr).split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("told", ["hydra.searchpath=[file://{}]", "--config-dir={}"])
def test_a_file_comes_before_the_default(dotted, tmp_path, told):
    folder = tmp_path / "mine/robot"
    folder.mkdir(parents=True)
    (folder / "dot.yaml").write_text("{name: dot, options: {size: 3}}")
    made = dotted("robot", "robot=dot", "robot.options.size=4", told.format(folder.parent))
    assert "the robot dot was made with {'size': 4}" in made.stderr


def test_a_page_shows_what_a_folder_of_configuration_holds(forehand, tmp_path):
    (tmp_path / "mine/policy").mkdir(parents=True)
    (tmp_path / "mine/policy/own.yaml").write_text("{name: composed, dim: 12}")
    assert "dim: 12" in forehand("train", "--help", "--config-dir", "mine", "policy=own").stdout


def test_a_part_without_a_file_is_listed(dotted):
    page = dotted("run", "--help", "chunking=dot", "benchmark=dot").stdout
    assert "robot=tabletop   or dot, gymnasium" in page
    assert "chunking=dot   or asynchronous" in page
    assert "benchmark=dot   or " in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "dataset=x", "+episodes=[0,1]"), "forehand train has no option 'episodes'"),
        (("train", "dataset=x", "++steps=3"), "no option 'steps'. Did you mean 'recipe.steps'?"),
        (("train", "dataset=x", "+recipe.stpes=3"), "no option 'stpes' in recipe. Did you mean 'steps'"),
        (
            ("train", "dataset=x", "+robot=tabletop"),
            "forehand train has no choice 'robot'. Known: launch, policy, preset.",
        ),
        (("train", "dataset=x", "+encoder@recipe=ngram_text"), "forehand train has no choice 'encoder'"),
        (("train", "dataset=x", "+robot.options.size=1"), "no option 'robot'"),
        (("train", "dataset=x", "~recipe.seed"), "forehand train needs recipe.seed"),
        (("train", "-m", "dataset=x", "+a=1", "recipe.seed=1,2"), "no option 'a'"),
        (("train", "--help", "+a=1"), "no option 'a'"),
        (("record", "output=x", "+noise.sd=1"), "no option 'sd' in noise. Did you mean 'std'"),
        (("record", "output=x", "+robot.option.size=1"), "no option 'option' in robot. Did you mean 'options'"),
        (("eval", "policy=zero_action", "+policy.foo=1"), "no option 'foo' in policy"),
        (("serve", "+limits.message_bytes=1"), "no option 'message_bytes' in limits. Did you mean 'message'"),
        (("demo", "+evaluation.episdes=1"), "no option 'episdes' in evaluation. Did you mean 'episodes'"),
        (("doctor", "+floder=x"), "no option 'floder'. Did you mean 'folder'"),
        (("keys", "+name.x=y"), "forehand keys has no option 'name'"),
    ],
)
def test_what_nothing_reads_is_refused(forehand, arguments, words):
    result = forehand(*arguments)
    assert result.returncode == 2, result.stderr
    assert words in " ".join(result.stderr.split())
    assert "write +" not in result.stderr


def test_a_plus_is_advised_where_a_part_may_take_it(forehand):
    assert "write +robot.options.size=…" in forehand("robot", "robot.options.size=3").stderr


CONFIG = {
    "policy": {"name": "composed", "encoders": {"text": {"name": "ngram_text"}}, "world_model": None},
    "robot": {"name": "arm", "options": {"make": {}}, "convert": []},
    "adapters": {},
    "recipe": {"steps": 1},
}


@pytest.mark.parametrize(
    ("path", "takes"),
    [
        ("policy", True),
        ("policy.encoders.text", True),
        ("policy.world_model", True),
        ("robot", False),
        ("robot.options", True),
        ("robot.options.make", True),
        ("adapters", True),
        ("adapters.openpi", True),
        ("recipe", False),
        ("nowhere", False),
        ("nowhere.options", False),
        ("recipe.options", False),
        ("benchmark.options", False),
        ("robot.convert.options", False),
        ("", False),
    ],
)
def test_only_parts_take_more(path, takes):
    keys = path.split(".") if path else []
    assert takes_more("train", CONFIG, keys) is takes
    assert takes_more("convert", CONFIG, keys)


def test_the_policy_of_a_server_keeps_its_options_apart():
    config = {"policy": {"name": None, "checkpoint": None, "options": {}}}
    assert not takes_more("serve", config, ["policy"])
    assert takes_more("serve", config, ["policy", "options"])


def test_an_unknown_option_is_named_where_it_is_unknown():
    assert "no option 'stpes' in recipe. Did you mean 'steps'?" in unknown("train", CONFIG, "recipe.stpes.x")
    assert "no option 'text'. Did you mean 'policy.encoders.text'?" in unknown("train", CONFIG, "text")


def test_folders_of_configuration_are_found_in_every_spelling():
    told = ["--config-dir", "/a", "-cd", "/b", "--config-dir=/c", "policy=x", "hydra.searchpath=[pkg://d,file:///e]"]
    assert search_path(told) == ["file:///a", "file:///b", "file:///c", "pkg://d", "file:///e"]


@pytest.fixture
def former(monkeypatch):
    monkeypatch.setattr(renames, "KEYS", {"policy.world_model": "policy.forecaster", "run:watchdog": "hold_after"})
    monkeypatch.setitem(registry()._aliases, ("robot", "table"), "tabletop")
    renames.log_once.cache_clear()


@pytest.mark.usefixtures("former")
@pytest.mark.parametrize(
    ("command", "written", "meant"),
    [
        ("train", "policy.world_model.weight=1", "policy.forecaster.weight=1"),
        ("train", "+policy.world_model={name: x}", "+policy.forecaster={name: x}"),
        ("train", "~policy.world_model", "~policy.forecaster"),
        ("run", "watchdog=1", "hold_after=1"),
        ("robot", "watchdog=1", "watchdog=1"),
        ("eval", "robot=table", "robot=tabletop"),
        ("eval", "robot=table,tabletop-chains", "robot=tabletop,tabletop-chains"),
        ("eval", "policy=random", "policy.name=random"),
        ("eval", "policy={name: random}", "policy={name: random}"),
        ("eval", "+policy=random", "+policy=random"),
        ("train", "policy=seer_small", "policy=seer_small"),
        ("train", "-m", "-m"),
        ("train", "--config-dir=x", "--config-dir=x"),
        ("serve", "adapters=[openpi_libero,gr00t]", "adapters=[openpi_libero,gr00t]"),
        ("run", "instruction='a=b c'", "instruction='a=b c'"),
        ("run", "instruction=own", "instruction=own"),
        ("eval", "instruction=own,other", "instruction=task,counterfactual"),
        ("plugins", "kind=door", "kind=adapter"),
        ("run", "+policy={world_model: {weight: 1, text: 'a, b'}}", "+policy={forecaster:{weight:1,text:'a, b'}}"),
        ("eval", "robot.options={render: pretty}", "robot.options={render:high}"),
    ],
)
def test_spellings(command, written, meant):
    assert present(command, [written], source(command)) == [meant]


@pytest.mark.usefixtures("former")
def test_each_former_spelling_is_logged_once(caplog):
    with caplog.at_level(logging.WARNING):
        present("run", ["watchdog=1", "watchdog=2"], "")
    assert [r.message for r in caplog.records] == ["watchdog is now called hold_after; write that."]


@pytest.mark.usefixtures("former")
@pytest.mark.parametrize(
    "written",
    [("hold_after=1", "watchdog=2"), ("watchdog=1", "+hold_after=2"), ("policy={world_model: 1, forecaster: 2}",)],
)
def test_both_names_of_a_key_are_refused(written):
    with pytest.raises(ConfigurationError, match="is given by its old name and by its present one"):
        present("run", written, "")


CHOICES: dict[str, list[str]] = {
    "train": ["+policy.random_shift.wrist=2", "+policy.token_dropout.action.static=0.5", "+policy.world_model.grid=4"],
    "serve": ["adapters=[openpi_libero]"],
    "record": ["benchmark=tabletop-chains"],
}
"""What a command must be given so that its configuration has the keys that were renamed."""


@pytest.fixture(scope="module")
def composed():
    """The configuration of each command, by its overrides."""
    prepare()
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        yield functools.cache(
            lambda name, *given: compose(configuration_name(name), overrides=[*CHOICES.get(name, []), *given])
        )


@pytest.mark.slow
@pytest.mark.parametrize(("former", "now"), renames.KEYS.items(), ids=list(renames.KEYS))
def test_every_former_key_is_accepted_where_the_present_one_is(composed, former, now):
    limit, _, former = former.replace("*", "openpi").rpartition(":")
    now = now.replace("*", "openpi")
    accepted = []
    for command in [limit] if limit else COMMANDS:
        config = composed(command)
        key, value = now, OmegaConf.select(config, now, default=KeyError)
        if value is KeyError:
            continue
        while isinstance(value, DictConfig):
            key, value = next((f"{key}.{name}", inner) for name, inner in value.items())
        written = f"{key.replace(now, former, 1)}={'null' if value is None else value}"
        found = composed(command, *present(command, [written], source(command)))
        assert OmegaConf.select(found, key) == value
        accepted.append(command)
    assert accepted


def test_files_may_give_former_keys_and_the_command_line_comes_first(composed):
    config = composed("train").copy()
    theirs = {"fresh": ["world_model"], "recipe": {"keep": 3, "accumulate": 4}, "policy": {"backbone": {"std": 0.5}}}
    OmegaConf.set_struct(config, False)
    config.merge_with(theirs)
    OmegaConf.set_struct(config, True)
    settle("train", config, ["recipe.keep_checkpoints=2", "policy=seer_small"])
    assert config.reinitialize == ["world_model"]
    assert (config.recipe.keep_checkpoints, config.recipe.gradient_accumulation_steps) == (1, 4)
    assert config.policy.backbone.init_std == 0.5
    assert "fresh" not in config
    assert not {"keep", "accumulate"} & set(config.recipe)
