"""``forehand env``: a small simulator in an environment of its own, made by uv from wheels in a folder."""

import json
import subprocess
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from forehand.environments import find
from forehand.errors import ConfigurationError
from forehand.utils.exclusive import exclusive

PLUGIN = Path(__file__).parents[1] / "data/tiny_simulator"
BASE = ("numpy", "pluggy", "pyzmq", "msgpack", "hydra-core", "rich", "pyyaml", "av", "pyarrow", "filelock", "pillow")


def wheel(folder, name, version, **files):
    """A wheel of ``files``, by their names with _ for the dot."""
    module = name.replace("-", "_")
    about = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        contents = {file.replace("__", "."): text for file, text in files.items()}
        contents[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        contents[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        contents[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in [*contents, f"{about}/RECORD"])
        for file, text in contents.items():
            archive.writestr(file, text)


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """Those of uv and of the plugin: packages come from a folder of wheels."""
    folder = tmp_path_factory.mktemp("tiny")
    (wheels := folder / "wheels").mkdir()
    # What a robot host needs is this environment's own, through a reference; so the wheels of these names are empty.
    for name in BASE:
        wheel(wheels, name, metadata.version(name))
    reference = sysconfig.get_path("purelib") + "\n"
    wheel(wheels, "tiny-simulator", "1.0", tiny_simulator__py="NUMBER = 5\n", tiny__pth=reference)
    wheel(wheels, "tiny-simulator", "2.0", tiny_simulator__py="NUMBER = 6\n")
    return {
        "FOREHAND_PLUGINS": "tiny,robots",
        "PYTHONPATH": str(PLUGIN),
        "FOREHAND_ENVIRONMENTS": str(folder / "environments"),
        "TINY_LOCK": str(folder / "tiny.lock"),
        "UV_FIND_LINKS": str(wheels),
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(folder / "cache"),
    }


@pytest.fixture(scope="module")
def made(command_in, variables, tmp_path_factory):
    """The environment, locked and made; nobody may change it."""
    for line in ("env lock tiny", "env make tiny"):
        command_in(tmp_path_factory.mktemp("here"), *line.split(), **variables)
    return Path(variables["FOREHAND_ENVIRONMENTS"]) / "tiny"


@pytest.fixture
def env(forehand, variables):
    """Runs ``forehand env``."""

    def run(*arguments, status=0, **more):
        done = forehand("env", *arguments, **{**variables, **more})
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


def test_the_lock_holds_exact_versions_and_no_addresses(made, variables):
    lines = Path(variables["TINY_LOCK"]).read_text().splitlines()
    assert "tiny-simulator==1.0" in lines
    assert f"numpy=={metadata.version('numpy')}" in lines
    assert not [line for line in lines if "://" in line or (line[0] != "#" and "==" not in line)]


def test_it_has_the_simulator_and_the_host_s_part_of_this_very_forehand(made):
    record = json.loads((made / "environment.json").read_text())
    assert record["packages"]["tiny-simulator"] == "1.0"
    program = "import forehand, forehand_tiny, tiny_simulator; print(forehand.__file__, tiny_simulator.__file__)"
    done = subprocess.run([made / "bin/python", "-I", "-c", program], capture_output=True, text=True, check=True)
    ours, simulators = done.stdout.split()
    import forehand

    assert ours == forehand.__file__
    assert Path(simulators).is_relative_to(made)


def test_what_is_up_to_date_is_only_checked(env, made):
    before = (made / "environment.json").stat().st_mtime_ns
    assert "is up to date and works" in env("make", "tiny").stdout
    assert (made / "environment.json").stat().st_mtime_ns == before


def test_the_list_says_what_is_made_and_what_changed_since(env, made, tmp_path):
    assert "ready" in (listed := env("list").stdout)
    assert "tiny-simulator 1.0" in listed
    (other := tmp_path / "other.lock").write_text("tiny-simulator==1.0\n")
    assert "outdated" in env("list", TINY_LOCK=str(other)).stdout
    assert "not made" in env("list", f"folder={tmp_path}").stdout


def test_the_check_runs_inside(env, made, tmp_path):
    assert "ok    tiny: works, ready" in env("check").stdout
    (simulator,) = made.glob("lib/python*/site-packages/tiny_simulator.py")
    text = simulator.read_text()
    simulator.unlink()
    try:
        assert "No module named 'tiny_simulator'" in env("check", "tiny", status=1).stdout
    finally:
        simulator.write_text(text)
    assert "forehand env make tiny" in env("check", "tiny", f"folder={tmp_path}", status=2).stderr


def test_one_that_runs_forehand_from_elsewhere_is_refused_and_referred_to_this_one(env, made, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREHAND_ENVIRONMENTS", str(made.parent))
    find("tiny")
    record = json.loads((made / "environment.json").read_text())
    here, there = record["asked"]["source_trees"]["forehand"], "file:///elsewhere/forehand"
    record["asked"]["source_trees"]["forehand"] = there
    (made / "environment.json").write_text(json.dumps(record))
    (reference,) = made.glob("lib/python*/site-packages/_forehand.pth")
    reference.write_text("/elsewhere/forehand/core\n")
    with pytest.raises(ConfigurationError, match=f"from {there}, this process from {here}.*forehand env make tiny"):
        find("tiny")
    assert "outdated" in env("list").stdout
    assert "No module named 'forehand'" in env("check", "tiny", status=1).stdout
    assert "installing" not in env("make", "tiny").stderr
    assert "ok    tiny: works, ready" in env("check").stdout
    find("tiny")


def test_one_that_is_up_to_date_and_broken_is_made_anew(env, made):
    (simulator,) = made.glob("lib/python*/site-packages/tiny_simulator.py")
    simulator.unlink()
    assert "No module named 'tiny_simulator'" in env("make", "tiny").stderr
    assert "ok    tiny: works, ready" in env("check").stdout


def test_one_that_is_made_again_keeps_its_options(env, made, tmp_path):
    env("make", "tiny", f"folder={tmp_path}", "+options.number=5")
    env("make", "tiny", f"folder={tmp_path}", "again=true")
    assert json.loads((tmp_path / "tiny/environment.json").read_text())["options"] == {"number": 5}


def test_one_whose_check_fails_is_unfinished(env, tmp_path):
    failed = env("make", "tiny", f"folder={tmp_path}", "+options.number=7", status=2)
    assert "the number is another" in failed.stderr
    assert "unfinished" in env("list", f"folder={tmp_path}").stdout
    env("remove", "tiny", f"folder={tmp_path}")
    assert not (tmp_path / "tiny").exists()
    assert "There is no environment" in env("remove", "tiny", f"folder={tmp_path}", status=2).stderr


def test_a_version_that_cannot_be_had_and_a_folder_of_something_else_are_refused(env, tmp_path):
    (lock := tmp_path / "other.lock").write_text("tiny-simulator==1.0\nnumpy==0.1\n")
    assert "Installing failed" in env("make", "tiny", f"folder={tmp_path}", status=2, TINY_LOCK=str(lock)).stderr
    (tmp_path / "mine/tiny").mkdir(parents=True)
    (tmp_path / "mine/tiny/thesis.tex").write_text("precious")
    for action in ("make", "remove"):
        env(action, "tiny", f"folder={tmp_path / 'mine'}", status=2)
    with exclusive(tmp_path / "mine/.tiny.lock"):
        assert "Another process" in env("make", "tiny", f"folder={tmp_path / 'mine'}", status=2).stderr
    assert (tmp_path / "mine/tiny/thesis.tex").read_text() == "precious"
    lock.write_text("tiny-simulator @ file:///tmp\n")
    assert "NAME==VERSION" in env("make", "tiny", f"folder={tmp_path}", status=2, TINY_LOCK=str(lock)).stderr


@pytest.mark.slow
def test_a_robot_is_simulated_in_its_environment_and_results_have_its_versions(env, forehand, variables, made, tmp_path):
    pendulum = ("robot=gymnasium", "robot.options.id=Pendulum-v1", "robot.options.success_return=-300")
    arguments = ("benchmark=gymnasium", "policy.name=random", "episodes=1", "num_videos=0", "output=o", "workers=1")
    inside = ("+robot.environment=tiny", "benchmark.options.id=Pendulum-v1", "benchmark.options.max_steps=3")
    plugins = {"FOREHAND_PLUGINS": "tiny,robots,tabletop,stock"}
    done = forehand("eval", *pendulum, *arguments, *inside, **variables | plugins)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "o/results.json").read_text())
    assert results["setup"]["environment"]["tiny-simulator"] == "1.0"
    absent = forehand("eval", *pendulum, *arguments, "+robot.environment=moon", **variables | plugins)
    assert "forehand env make moon" in absent.stderr


@pytest.mark.slow
def test_what_needs_an_expert_runs_inside_as_a_whole(process, variables, made, tmp_path):
    plugins = {"FOREHAND_PLUGINS": "tiny,robots,tabletop"}
    record = ("record", "robot=tabletop", "+robot.environment=tiny", "episodes=1", "workers=1", "output=data")
    done = process(*record, **variables | plugins)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "data/meta/info.json").read_text())["total_episodes"] == 1
