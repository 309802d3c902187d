"""``forehand doctor``: what this computer can do, line by line, and what to do about the rest."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from forehand import registry

OK, WARN, FAIL = "ok", "warn", "fail"
COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
PACKAGES = ("forehand", "numpy", "pyzmq", "msgpack", "hydra-core", "lerobot", "mujoco", "dm-control", "av")
RENDERING = "apt-get install libegl1 libgles2 libgl1-mesa-dri libosmesa6"

# A renderer without its libraries aborts its process, so it is tried in another.
RENDER_A_FRAME = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 2"/><geom type="sphere" size=".2" rgba="1 0 0 1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data)
    assert renderer.render()[..., 0].max() > 50, "the picture is black"
"""


@dataclass(frozen=True)
class Finding:
    """Result of one check: a state, what was checked, what was found, and what to do about it."""

    state: str
    what: str
    found: str
    remedy: str = ""


def doctor(config: DictConfig) -> None:
    """Print every finding; exit with status 1 if a check failed."""
    console = Console()
    failed = False
    for finding in examine(Path(config.folder), config.free_gib):
        failed |= finding.state == FAIL
        line = Text(f"{finding.state:<5}", style=COLOURS[finding.state])
        line.append(f"{finding.what}: {finding.found}", style="default")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"       → {finding.remedy}"), soft_wrap=True)
    if failed:
        raise SystemExit(1)


def examine(folder: Path, free_gib: float) -> Iterator[Finding]:
    """The findings of all checks; an unexpected error in a check is a finding too."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _torch,
        _rendering,
        _video,
        _sockets,
        lambda: _disk(folder, free_gib),
        _plugins,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken installation fails in many ways; the other checks still help
            name = getattr(check, "__name__", "disk").strip("_")
            yield Finding(FAIL, name, f"{type(error).__name__}: {error}", "Reinstall: pip install 'forehand[all]'")


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding(OK, "Python", found)


def _packages() -> Iterator[Finding]:
    there, missing = [], []
    for name in PACKAGES:
        try:
            there.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding(OK, "packages", ", ".join(there))
    extras = {"lerobot": "learning", "mujoco": "simulation", "dm-control": "simulation", "av": "report"}
    for name in missing:
        if name in extras:
            yield Finding(WARN, name, "not installed", f"pip install 'forehand[{extras[name]}]'")
        else:
            yield Finding(FAIL, name, "not installed", "pip install forehand")


def _torch() -> Iterator[Finding]:
    if not _importable("torch"):
        commands = "record, train, demo, and serve, run and eval with a checkpoint in their own process"
        yield Finding(WARN, "torch", f"not installed; needed by {commands}", "pip install 'forehand[learning]'")
        return
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    devices = "CPU only"
    if accelerator is not None:
        devices = f"{torch.accelerator.device_count()} × {accelerator.type}"
    yield Finding(OK, "torch", f"{torch.__version__}, {devices}, {torch.get_num_threads()} CPU threads")


def _rendering() -> Iterator[Finding]:
    if not _importable("mujoco"):
        yield Finding(
            WARN, "rendering", "MuJoCo is not installed; simulated robots need it", "pip install 'forehand[simulation]'"
        )
        return
    chosen = os.environ.get("MUJOCO_GL")
    reasons = []
    for backend in [chosen] if chosen else ["egl", "osmesa"]:
        tried = subprocess.run(
            [sys.executable, "-c", RENDER_A_FRAME],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if tried.returncode == 0:
            hint = "" if chosen else f"Set MUJOCO_GL={backend} if a simulator needs a display."
            yield Finding(OK, "rendering", f"MuJoCo drew a picture with MUJOCO_GL={backend}", hint)
            return
        lines = tried.stderr.strip().splitlines() or [f"ended with status {tried.returncode}"]
        reasons.append(f"{backend}: {lines[-1]}")
    yield Finding(
        FAIL, "rendering", "; ".join(reasons), f"{RENDERING}   (Debian, Ubuntu), or set MUJOCO_GL=egl or osmesa"
    )


def _video() -> Iterator[Finding]:
    if not _importable("av"):
        yield Finding(
            WARN, "video", "PyAV is not installed; datasets and videos need it", "pip install 'forehand[report]'"
        )
        return
    import av

    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints a lot otherwise
    frame = np.full((64, 64, 3), 128, np.uint8)
    for codec, purpose in (("libx264", "videos of rollouts"), ("libsvtav1", "datasets")):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "one.mp4")
            try:
                with av.open(path, "w") as writing:
                    stream = writing.add_stream(codec, rate=10)
                    assert isinstance(stream, av.VideoStream)
                    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
                    writing.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                    writing.mux(stream.encode())
                with av.open(path) as reading:
                    (decoded,) = reading.decode(video=0)
                if abs(float(decoded.to_ndarray(format="rgb24").mean()) - 128) > 8:
                    raise ValueError("the picture came back changed")
                yield Finding(OK, "video", f"{codec} ({purpose}) encodes and decodes")
            except (av.FFmpegError, ValueError) as error:
                yield Finding(FAIL, "video", f"{codec} ({purpose}): {error}", "pip install --force-reinstall av")
    if _importable("torchcodec"):
        try:
            importlib.import_module("torchcodec")
        except (ImportError, OSError, RuntimeError):
            remedy = "apt-get install ffmpeg   (Debian, Ubuntu)"
            yield Finding(WARN, "video", "torchcodec finds no FFmpeg; LeRobot decodes with PyAV, more slowly", remedy)


def _sockets() -> Iterator[Finding]:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as server, context.socket(zmq.REQ) as client:
        for socket in (server, client):
            socket.linger, socket.rcvtimeo = 0, 2000
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client.connect(f"tcp://127.0.0.1:{port}")
        try:
            client.send(b"ping")
            server.send(server.recv())
            arrived = client.recv() == b"ping"
        except zmq.Again:
            arrived = False
    if arrived:
        yield Finding(OK, "sockets", f"ZeroMQ {zmq.zmq_version()}: a message went round over TCP")
    else:
        yield Finding(FAIL, "sockets", "no answer over 127.0.0.1 in 2 s", "Allow local TCP connections in the firewall.")


def _disk(folder: Path, free_gib: float) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding(FAIL, "disk", f"there is no folder {folder}", "Name one that exists: forehand doctor folder=…")
        return
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free in {folder.resolve()}"
    if free >= free_gib:
        yield Finding(OK, "disk", found)
    else:
        yield Finding(WARN, "disk", found, f"Datasets and checkpoints may need {free_gib} GiB.")


def _plugins() -> Iterator[Finding]:
    for plugin in registry().plugins():
        if plugin.error:
            remedy = f"Repair or uninstall {plugin.distribution}; its parts are missing, the others work."
            yield Finding(FAIL, f"plugin {plugin.name}", plugin.error, remedy)
    working = [p.name for p in registry().plugins() if not p.error]
    yield Finding(OK, "plugins", f"{', '.join(working) or 'none'} ({len(registry().parts())} parts)")


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
