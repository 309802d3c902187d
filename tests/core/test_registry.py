"""Parts by kind and name, plugins by entry point; one that is broken takes nothing else down."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from forehand import Registry, hookimpl
from forehand.errors import BrokenPlugin, ConfigurationError, UnknownName
from forehand.registry import KINDS, LIMIT_VARIABLE, nearest


@pytest.fixture
def plugin(monkeypatch):
    """Makes a plugin module out of functions, and its entry point."""

    def make(name, **functions):
        module = ModuleType(f"a_plugin_called_{name}")
        for hook, function in functions.items():
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return EntryPoint(name, module.__name__, "forehand")

    return make


def test_a_part_is_made_by_name_with_options():
    registry = Registry()
    registry.add("encoder", "mine/words", dict, "a dictionary")
    assert registry.create("encoder", "mine/words", dim=3) == {"dim": 3}
    part = registry.part("encoder", "mine/words")
    assert (part.summary, part.plugin) == ("a dictionary", "direct")


def test_a_factory_given_by_name_is_imported_on_first_use():
    registry = Registry()
    registry.add("policy", "late", "decimal:Decimal", "imported late")
    assert str(registry.create("policy", "late", value="1.5")) == "1.5"
    registry.add("policy", "absent", "a_library_nobody_has:Policy", "cannot be imported")
    with pytest.raises(BrokenPlugin, match="a_library_nobody_has"):
        registry.create("policy", "absent")


def test_an_unknown_name_is_answered_with_the_nearest():
    registry = Registry()
    registry.add("encoder", "seer/state", dict, "state")
    registry.add("robot", "tabletop", dict, "a robot")
    with pytest.raises(UnknownName, match="Did you mean 'seer/state'"):
        registry.part("encoder", "seer/stat")
    with pytest.raises(UnknownName, match="There is a robot of that name"):
        registry.part("encoder", "tabletop")
    with pytest.raises(UnknownName, match="Did you mean 'encoder'"):
        registry.part("encodr", "seer/state")
    with pytest.raises(UnknownName, match="no kind"):
        registry.add("gizmo", "x", dict, "")


def test_nearest_lists_everything_when_nothing_is_close():
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."
    assert nearest("zzz", []) == "Known: none."


def test_wrong_options_are_a_configuration_error_but_a_bug_stays_a_bug():
    registry = Registry()

    def factory(*, size):
        return size + 1

    registry.add("encoder", "sized", factory, "has a size")
    with pytest.raises(ConfigurationError, match="'sized' was given options it cannot take"):
        registry.create("encoder", "sized", colour="red")
    with pytest.raises(TypeError, match="str"):
        registry.create("encoder", "sized", size="three")


def test_a_name_is_registered_once():
    registry = Registry()
    registry.add("robot", "arm", dict, "one")
    with pytest.raises(ConfigurationError, match="registered twice"):
        registry.add("robot", "arm", dict, "another")
    registry.add("benchmark", "arm", dict, "another kind may use the name")


def test_a_plugin_brings_parts_and_configuration(plugin):
    registry = Registry()

    def register(registry):
        registry.add("robot", "arm", dict, "an arm")

    registry.load_plugin(plugin("arms", forehand_register=register, forehand_configuration=lambda: "pkg://arms.conf"))
    (found,) = registry.plugins()
    assert (found.name, found.error, found.configuration) == ("arms", None, "pkg://arms.conf")
    assert registry.part("robot", "arm").plugin == "arms"


def test_a_plugin_without_configuration_is_fine(plugin):
    registry = Registry()
    registry.load_plugin(plugin("quiet", forehand_register=lambda registry: None))
    (found,) = registry.plugins()
    assert (found.error, found.configuration) == (None, None)


def test_a_broken_plugin_is_listed_with_its_reason_and_leaves_no_part(plugin):
    registry = Registry()

    def register(registry):
        registry.add("robot", "half", dict, "registered before it broke")
        raise RuntimeError("no licence")

    registry.load_plugin(plugin("works", forehand_register=lambda registry: registry.add("robot", "arm", dict, "")))
    registry.load_plugin(plugin("breaks", forehand_register=register))
    registry.load_plugin(EntryPoint("absent", "a_library_nobody_has", "forehand"))
    reasons = {p.name: p.error for p in registry.plugins()}
    assert reasons["works"] is None
    assert reasons["breaks"] == "RuntimeError: no licence"
    assert "a_library_nobody_has" in reasons["absent"]
    assert [p.name for p in registry.parts()] == ["arm"]
    with pytest.raises(UnknownName, match="no licence"):
        registry.part("robot", "half")


def test_a_misspelt_hook_is_a_broken_plugin(plugin):
    registry = Registry()
    registry.load_plugin(plugin("misspelt", forehand_registre=lambda registry: None))
    (found,) = registry.plugins()
    assert "forehand_registre" in found.error


def test_an_environment_variable_limits_loading(monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "stock, sear")
    limited = Registry.discover()
    assert {p.plugin for p in limited.parts()} == {"stock"}
    (unknown,) = [p for p in limited.plugins() if p.error]
    assert unknown.name == "sear"
    assert "Did you mean 'seer'" in unknown.error
    monkeypatch.setenv(LIMIT_VARIABLE, "")
    assert Registry.discover().parts() == []


def test_all_our_plugins_work_and_every_part_has_its_sentence(monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "stock,seer,robots")
    ours = Registry.discover()
    assert [(p.name, p.error) for p in ours.plugins()] == [("robots", None), ("seer", None), ("stock", None)]
    for part in ours.parts():
        assert part.kind in KINDS
        assert part.summary
        assert callable(part.load()), part.name
