"""Parts by kind and name, plugins by entry point; one that is broken takes nothing else down."""

import inspect
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from forehand import Registry, hookimpl
from forehand.errors import BrokenPlugin, ConfigurationError, UnknownName, nearest
from forehand.plugins import discover, load_plugin
from forehand.registry import LIMIT_VARIABLE, indefinite
from forehand.utils.renames import log_once


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
    registry.add("encoder", "example/state", dict, "state")
    registry.add("robot", "arm", dict, "a robot")
    with pytest.raises(UnknownName, match="Did you mean 'example/state'"):
        registry.part("encoder", "example/stat")
    with pytest.raises(UnknownName, match="There is a robot of that name"):
        registry.part("encoder", "arm")
    with pytest.raises(UnknownName, match="Did you mean 'encoder'"):
        registry.part("encodr", "example/state")
    with pytest.raises(UnknownName, match="no kind"):
        registry.add("gizmo", "x", dict, "")


def test_nearest_lists_everything_when_nothing_is_close():
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."
    assert nearest("zzz", []) == "Known: none."
    assert nearest(None, ["none_such", "a"]) == "Known: a, none_such."


def test_options_that_a_factory_does_not_take_are_named():
    registry = Registry()

    def factory(*, size, colour="red"):
        return size + 1

    registry.add("encoder", "sized", factory, "has a size")
    with pytest.raises(ConfigurationError, match=r"'sized' was given options it cannot take: it has no option 'colur'"):
        registry.create("encoder", "sized", size=1, colur="red")
    with pytest.raises(ConfigurationError, match=r"Did you mean 'colour'\?"):
        registry.create("encoder", "sized", size=1, colur="red")
    with pytest.raises(ConfigurationError, match=r"cannot take: it needs size\."):
        registry.create("encoder", "sized")


def test_an_error_inside_a_factory_passes_as_it_is():
    registry = Registry()

    def helper(width):
        return width

    def factory(*, size, **more):
        return helper(width=size, wdth=1)

    registry.add("encoder", "buggy", factory, "has a fault")
    with pytest.raises(TypeError, match="unexpected keyword argument 'wdth'") as raised:
        registry.create("encoder", "buggy", size=3, whatever=1)
    assert raised.traceback[-1].name == "factory"


def test_a_callable_without_a_signature_is_simply_called():
    registry = Registry()
    registry.add("encoder", "mapping", dict, "a mapping")
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(dict)
    assert registry.create("encoder", "mapping", size=1) == {"size": 1}


def test_a_former_name_works_and_each_is_logged_once(caplog):
    registry = Registry()
    registry.add("encoder", "text", dict, "text", aliases=("words_of_old",))
    for _ in range(2):
        assert registry.create("encoder", "words_of_old", dim=1) == {"dim": 1}
    assert [r.message for r in caplog.records] == ["encoder 'words_of_old' is now called 'text'; write that."]
    assert registry.present_name("encoder", "words_of_old") == "text"
    assert registry.present_name("robot", "words_of_old") == "words_of_old"
    assert registry.is_alias("words_of_old", "text")
    assert not registry.is_alias(3, None)
    assert [p.name for p in registry.parts("encoder")] == ["text"]


@pytest.mark.parametrize(("name", "aliases"), [("old", ()), ("other", ("new",)), ("other", ("old",))])
def test_a_former_name_is_not_given_again(name, aliases):
    registry = Registry()
    registry.add("encoder", "new", dict, "", aliases=("old",))
    with pytest.raises(ConfigurationError, match="registered twice"):
        registry.add("encoder", name, dict, "", aliases=aliases)
    assert [p.name for p in registry.parts()] == ["new"]


def test_a_broken_plugin_leaves_no_former_name(plugin):
    registry = Registry()

    def register(registry):
        registry.add("robot", "arm", dict, "", aliases=("old-arm",))
        raise RuntimeError("no licence")

    load_plugin(registry, plugin("breaks", forehand_register=register))
    assert registry.present_name("robot", "old-arm") == "old-arm"


@pytest.mark.parametrize(("noun", "phrase"), [("encoder", "an encoder"), ("robot", "a robot"), ("", "a ")])
def test_nouns_have_their_article(noun, phrase):
    assert indefinite(noun) == phrase


def test_a_former_name_of_a_kind_is_understood(caplog):
    log_once.cache_clear()
    registry = Registry()
    registry.add("execution", "mine", dict, "", aliases=["ours"])
    assert registry.parts("chunking") == registry.parts("execution") == [registry.part("execution", "ours")]
    assert registry.create("execution", "mine", steps=2) == registry.create("chunking", "mine", steps=2) == {"steps": 2}
    assert registry.parts()[0].kind == "chunking"
    with pytest.raises(ConfigurationError, match="chunking 'mine' is registered twice"):
        registry.add("chunking", "mine", dict, "")
    assert [r.message for r in caplog.records] == [
        "The kind of part 'execution' is now called 'chunking'; write that.",
        "chunking 'ours' is now called 'mine'; write that.",
    ]


@pytest.mark.parametrize("kind", ["action_head", "encoder", "adapter"])
def test_an_unknown_part_is_named_with_its_article(kind):
    with pytest.raises(UnknownName, match=f"No plugin offers an {kind} called"):
        Registry().part(kind, "x")


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

    load_plugin(registry, plugin("arms", forehand_register=register, forehand_configuration=lambda: "pkg://arms.conf"))
    (found,) = registry.plugins()
    assert (found.name, found.error, found.configuration) == ("arms", None, "pkg://arms.conf")
    assert registry.part("robot", "arm").plugin == "arms"


def test_a_plugin_without_configuration_is_fine(plugin):
    registry = Registry()
    load_plugin(registry, plugin("quiet", forehand_register=lambda registry: None))
    (found,) = registry.plugins()
    assert (found.error, found.configuration) == (None, None)


def test_a_broken_plugin_is_listed_with_its_reason_and_leaves_no_part(plugin):
    registry = Registry()

    def register(registry):
        registry.add("robot", "half", dict, "registered before it broke")
        raise RuntimeError("no licence")

    load_plugin(registry, plugin("works", forehand_register=lambda registry: registry.add("robot", "arm", dict, "")))
    load_plugin(registry, plugin("breaks", forehand_register=register))
    load_plugin(registry, EntryPoint("absent", "a_library_nobody_has", "forehand"))
    reasons = {p.name: p.error for p in registry.plugins()}
    assert reasons["works"] is None
    assert reasons["breaks"] == "RuntimeError: no licence"
    assert "a_library_nobody_has" in reasons["absent"]
    assert [p.name for p in registry.parts()] == ["arm"]
    with pytest.raises(UnknownName, match="no licence"):
        registry.part("robot", "half")


def test_a_misspelt_hook_is_a_broken_plugin(plugin):
    registry = Registry()
    load_plugin(registry, plugin("misspelt", forehand_registre=lambda registry: None))
    (found,) = registry.plugins()
    assert "forehand_registre" in found.error


@pytest.mark.usefixtures("example_parts")
def test_an_environment_variable_limits_loading(monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "example, exampel")
    limited = discover()
    assert {p.plugin for p in limited.parts()} == {"example"}
    (unknown,) = [p for p in limited.plugins() if p.error]
    assert unknown.name == "exampel"
    assert "Did you mean 'example'" in unknown.error
    monkeypatch.setenv(LIMIT_VARIABLE, "")
    assert discover().parts() == []
