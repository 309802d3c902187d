"""Wheel and sdist are built, and the wheel works installed on its own, with the libraries of this environment."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, target: str, into: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, cwd=source)
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executables of an environment with the wheel; it sees this one's libraries, and not this source tree."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    executables = folder / ("Scripts" if os.name == "nt" else "bin")
    python = executables / "python"
    (site,) = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).split()
    (Path(site) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files do not count
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    return executables


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
    for room in ("core", "plugins", "seer_plugin", "robots", "apps"):
        for package in (*(ROOT / room).glob("forehand*"), *(ROOT / room).glob("hydra_plugins")):
            wanted = {p.relative_to(ROOT / room).as_posix() for p in package.rglob("*") if p.is_file()}
            missing = {name for name in wanted - there if "__pycache__" not in name}
            assert not missing


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path):
    (tmp_path / "sdist").mkdir()
    with tarfile.open(build(ROOT, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    (tmp_path / "wheel").mkdir()
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(build(source, "wheel", tmp_path / "wheel")) as other:
        assert {name: one.read(name) for name in one.namelist()} == {name: other.read(name) for name in other.namelist()}


@pytest.mark.slow
def test_the_command_works_from_the_wheel(installed: Path, tmp_path: Path):
    place = run(installed / "python", "-c", "import forehand; print(forehand.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(installed.parent)
    plugins = run(installed / "forehand", "plugins", cwd=tmp_path)
    for name in ("stock", "seer", "robots", "tabletop", "appearance_flow"):
        assert name in plugins
    assert "broken" not in plugins
    assert "recipe.steps" in run(installed / "forehand", "train", "--help", cwd=tmp_path)
