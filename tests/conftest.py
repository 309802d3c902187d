"""What several rooms' tests stand on: the robot of tests/data/slider, and a small dataset it recorded."""

import importlib.util
import signal
from pathlib import Path
from types import ModuleType

import pytest

PLUGIN = Path(__file__).parent / "data/slider"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A test run that a script started in the background is deaf to Ctrl-C, and so would be every process it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    from forehand.data.assembly import assemble, check_fit, recording
    from forehand.data.demonstration import Noise, demonstrate
    from forehand.data.recorder import Recorder

    root = tmp_path_factory.mktemp("datasets") / "slider"
    robot, benchmark = slider.Slider(), slider.Sliding()
    with recording(root):
        check_fit(root, robot.contract)
        recorder = Recorder(root, robot.contract)
        for index, episode in enumerate(benchmark.episodes(3, seed=1)):
            assert demonstrate(robot, benchmark, episode, recorder, seed=0, noise=Noise(), hold_steps=1)
            recorder.save(index, episode.instruction)
        assert assemble(root) == 3
    return root
