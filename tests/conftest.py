"""Fixtures of several folders: the robot of tests/data/slider, a small dataset it recorded, and commands in process."""

import contextlib
import importlib.util
import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

PLUGIN = Path(__file__).parent / "data/slider"

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: threads that spin are in the way. Sums are the same to the bit only with as many threads.
    os.environ["OMP_NUM_THREADS"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A test run that a script started in the background is deaf to Ctrl-C, and so would be every process it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests first, so that no worker ends long after the others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def line_trainer() -> Callable[..., Any]:
    """Makes trainers of a policy with one weight: by folder, callbacks, ``batch(number)`` and changes of the recipe."""
    import torch
    from torch import nn

    from forehand.learning.recipe import Recipe
    from forehand.learning.trainer import Trainer

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, batch):
            loss = (self.weight * batch["x"]).square().mean()
            return loss, {"error": loss.detach()}

    def make(folder: Path, *callbacks: Any, batch: Any = lambda number: torch.ones(3), **changes: Any) -> Any:
        settings = {"steps": 4, "batch_size": 1, "learning_rate": 0.1, "seed": 0, "log_every": 1} | changes
        about: dict[str, Any] = {"config": {}, "statistics": {}, "facts": {}}
        folder.mkdir(exist_ok=True)
        return Trainer(
            Line(), lambda number: {"x": batch(number)}, Recipe(**settings), folder, **about, callbacks=callbacks
        )

    return make


@pytest.fixture(scope="session")
def slider() -> ModuleType:
    """The module of the slider's plugin."""
    spec = importlib.util.spec_from_file_location("slider", PLUGIN / "slider.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def slider_dataset(slider: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short episodes with two cameras of 32 × 32; nobody may change it."""
    from forehand.data.demonstrations.demonstrate import Noise, demonstrate
    from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
    from forehand.data.recording.recorder import Recorder

    root = tmp_path_factory.mktemp("datasets") / "slider"
    robot, benchmark = slider.Slider(), slider.Sliding()
    with recording_lock(root):
        require_same_contract(root, robot.contract)
        recorder = Recorder(root, robot.contract)
        for index, episode in enumerate(benchmark.episodes(3, seed=1)):
            assert demonstrate(robot, benchmark, episode, recorder, seed=0, noise=Noise(), hold_steps=1)
            recorder.save(index, episode.instruction)
        assert commit_episodes(root) == 3
    return root


UNSET = ("FOREHAND_DEBUG", "HYDRA_FULL_ERROR", "FOREHAND_PLUGINS")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in UNSET} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def own_process(tmp_path: Path):
    """Context manager of environment variables: this process as one of its own would be, in an empty folder."""

    @contextlib.contextmanager
    def begin(**variables: str) -> Iterator[None]:
        with contextlib.chdir(tmp_path), fresh_process(ENVIRONMENT | variables):
            yield

    return begin


@pytest.fixture
def in_process(own_process, capfd: pytest.CaptureFixture[str]):
    """Runs one command in this process, but as one of its own would: in an empty folder, and leaving nothing behind.

    Takes the command's words and environment variables; returns a CompletedProcess.
    """

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        with own_process(**variables):
            status = exit_status(arguments)
        return subprocess.CompletedProcess(["forehand", *arguments], status, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def command_in():
    """Runs one command in this process and in a folder, for fixtures that tests share; it has to succeed."""

    def run(folder: Path, *arguments: str, **variables: str) -> None:
        with contextlib.chdir(folder), fresh_process(ENVIRONMENT | variables):
            assert exit_status(arguments) == 0

    return run


@pytest.fixture(scope="session")
def lerobot_here():
    """Runs one of LeRobot's commands, or a script, in this process and without the network; gives what it printed."""

    def run(command: str, *arguments: str) -> str:
        from huggingface_hub import constants

        offline = mock.patch.object(constants, "HF_HUB_OFFLINE", True)
        with offline, fresh_process(ENVIRONMENT), contextlib.redirect_stdout(io.StringIO()) as said:
            sys.argv = [command, *arguments]
            if command.endswith(".py"):
                runpy.run_path(command, run_name="__main__")
            else:
                importlib.import_module(f"lerobot.scripts.{command.replace('-', '_')}").main()
        return said.getvalue()

    return run


def exit_status(arguments: tuple[str, ...]) -> int:
    """That of a process that runs one command."""
    from forehand_apps.main import run

    try:
        return run(arguments)
    except Exception:
        traceback.print_exc()
        return 1


@contextlib.contextmanager
def fresh_process(environment: dict[str, str]) -> Iterator[None]:
    """The process's global state as it is at a start with ``environment``; restored in the end."""
    from hydra.core.hydra_config import HydraConfig

    from forehand import registry
    from forehand.utils.renames import log_once
    from forehand_apps.cli.execution import PluginConfiguration

    root, hydra = logging.getLogger(), HydraConfig.instance()
    handlers, level, config = root.handlers[:], root.level, hydra.cfg
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    site = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    root.handlers[:], root.level, hydra.cfg = [], logging.WARNING, None
    registry.cache_clear()
    log_once.cache_clear()
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(PluginConfiguration, "folders", ()),
        mock.patch.object(sys, "argv", sys.argv),
        mock.patch.object(sys, "path", [*site, *sys.path]),
        mock.patch.object(logging, "_handlerList", []),  # a new configuration closes all, absl's the capture of pytest
        warnings.catch_warnings(),
    ):
        try:
            yield
        finally:
            for handler in root.handlers:
                handler.close()
            root.handlers[:], hydra.cfg = handlers, config
            root.setLevel(level)
            for number, action in signals.items():
                signal.signal(number, action)
            if threads:
                sys.modules["torch"].set_num_threads(threads)
            registry.cache_clear()
            for name, module in list(sys.modules.items()):
                if (getattr(module, "__file__", None) or "").startswith(tuple(f"{folder}{os.sep}" for folder in site)):
                    del sys.modules[name]
