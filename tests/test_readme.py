"""What README.md and the pages of docs/ tell a reader to type is typed here, in its order, in an empty folder.

Numbers are made small by what the tables below add; nothing else is different from what the page says.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tests.child_process import ChildProcess, run_child
from tests.foreign_recordings.calvin import write_calvin
from tests.foreign_recordings.hdf5 import write_libero, write_robomimic
from tests.foreign_recordings.mcap import recording, write_bag
from tests.foreign_recordings.rlds import BRIDGE, DROID, bridge_episode, droid_episode, write_rlds
from tests.foreign_recordings.step_folders import write_step_folders
from tests.foreign_recordings.zarr import write_pusht

from forehand.utils.video import Encoding, VideoWriter

ROOT = Path(__file__).parent.parent

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]

TOURS = {
    "start": [
        "README.md",
        "docs/getting-started/installation.md",
        "docs/getting-started/first-policy.md",
        "docs/concepts/contract.md",
        "docs/concepts/session.md",
        "docs/concepts/wire.md",
    ],
    "guides": [
        "docs/guides/datasets.md",
        "docs/guides/flow_matching.md",
        "docs/guides/composing.md",
        "docs/guides/timm.md",
        "docs/guides/training.md",
        "docs/guides/latent.md",
        "docs/guides/plugins.md",
        "docs/guides/gymnasium.md",
        "docs/guides/network.md",
    ],
    "lerobot": ["docs/guides/lerobot.md"],
    "importing": ["docs/guides/importing.md"],
    "video": ["docs/guides/video.md"],
}
"""Pages that one reader follows from their beginning to their end, one page after the other."""

BEFORE = {tour: ["forehand record robot=tabletop output=data/blocks"] for tour in ("guides", "lerobot")}
"""What a reader of these pages has typed already."""

ADDED = {
    "record": ["episodes=2", "workers=1"],
    "import": ["workers=1"],
    "train": ["recipe.steps=2", "recipe.batch_size=2"],
    "train dataset=data/blocks recipe.steps=null": ["recipe.epochs=0.1", "recipe.batch_size=2"],
    "serve": ["address=tcp://127.0.0.1:0"],
    "robot": ["address=tcp://127.0.0.1:0"],
    "run robot=gymnasium": ["max_steps=20"],
    "run robot=remote": ["max_steps=20"],
    "eval": ["episodes=1", "tasks=[lift]", "num_videos=1"],
    "eval robot=gymnasium robot.options.id=forehand_reach": ["episodes=1", "num_videos=1"],
    "eval benchmark=tabletop-chains": ["episodes=1", "num_videos=1"],
}
"""What is typed after a line of a page that begins with ``forehand`` and these words: a small case of it."""

ADDED_TO_LEROBOT = {
    "lerobot-train": ["--steps=2", "--batch_size=2", "--num_workers=0", "--save_freq=2", "--policy.device=cpu"],
    "lerobot-eval": ["--eval.n_episodes=1", "--eval.batch_size=1", "--env.episode_length=4", "--policy.device=cpu"],
}
"""The same for LeRobot's commands."""

SUBSTITUTED = {"recipe.seed=0,1,2": "recipe.seed=0,1", "PUBLIC_KEY": "ab" * 32, "./plugins/": f"{ROOT}/plugins/"}
"""Words of the pages for which another one stands in."""

SERVING = ("serve", "robot")
"""Commands that a page gives a terminal of their own; where they listen takes the place of the page's addresses."""
REMOTE = "robot.options.address="
PAGE_ADDRESS = {"serve": "tcp://127.0.0.1:5555", "robot": "tcp://127.0.0.1:5556"}

NOT_TYPED = {
    "make demo": "takes ten minutes; only that make knows it is tried",
    "make test": "would run this very test; only that make knows it is tried",
    "pip install -e '.[all]' -c constraints.txt": "would change the environment that the tests run in",
    "pip install -e '.[simulation]' -c constraints.txt": "would change the environment that the tests run in",
    "pip install -e . -c constraints.txt": "would change the environment that the tests run in",
}

PROGRAM = (sys.executable, "-c", "from forehand_apps.main import main; main()")
OFFLINE = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
FILE_NAME = re.compile(r"# (\S+\.\w+)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """The file that the block is to be saved as: what its first line says, if it says so."""
        named = FILE_NAME.fullmatch(self.text.partition("\n")[0])
        return named[1] if named else None

    @property
    def lines(self) -> list[str]:
        """Command lines, without comments."""
        return [shlex.join(words) for line in self.text.splitlines() if (words := shlex.split(line, comments=True))]


def read_blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    return [Block(page, *found) for found in FENCED.findall((ROOT / page).read_text(encoding="utf-8"))]


BLOCKS = {page: read_blocks(page) for pages in TOURS.values() for page in pages}
ALL = [block for blocks in BLOCKS.values() for block in blocks]


@dataclass
class Follower:
    """A reader of the pages: runs their blocks in ``folder``; packages that it installs go to ``site``.

    Commands and Python run in this process; what serves, in one of its own.
    """

    folder: Path
    site: Path
    own_process: Callable[..., AbstractContextManager[None]]
    command: Callable[..., subprocess.CompletedProcess[str]]
    addresses: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    running: list[ChildProcess] = field(default_factory=list)

    def do(self, block: Block) -> None:
        if block.file_name:
            path = self.folder / block.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            for line in block.lines:
                self.type(line)
        elif block.language == "python":
            if block.text not in self.done:
                with self.own_process(**self.variables):
                    exec(compile(block.text, block.page, "exec"), {"__name__": "__main__"})
                self.done.add(block.text)
        else:
            assert block.language == "bibtex", f"nobody knows how to follow this block:\n{block.text}"

    def type(self, line: str) -> None:
        """Type a line; one that an earlier page had is not typed again."""
        if line in self.done:
            return
        self.done.add(line)
        program, *arguments = shlex.split(line)
        if line in NOT_TYPED:
            if program == "make":
                subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
        elif program == "forehand":
            self.forehand(*arguments)
        elif (program, *arguments[:1]) == ("pip", "install"):
            packages = [self.actual(word) for word in arguments[1:]]
            pip = [sys.executable, "-m", "pip", "install", *OFFLINE, "--target", str(self.site), *packages]
            run_child(pip, cwd=self.folder, check=True)
        elif program in ADDED_TO_LEROBOT:
            command = [str(Path(sys.executable).parent / program), *arguments, *ADDED_TO_LEROBOT[program]]
            environment = {**os.environ, **self.variables, "HF_HUB_OFFLINE": "1"}
            run_child(command, cwd=self.folder, env=environment, check=True)
        else:
            raise AssertionError(f"the page says {line!r}, which is neither typed here nor listed in NOT_TYPED")

    def forehand(self, command: str, *arguments: str) -> None:
        said = " ".join(arguments)
        # The pages rely on the usual port of robot hosts here; in tests it is another.
        usual = [REMOTE + PAGE_ADDRESS["robot"]] if "robot=remote" in said and REMOTE not in said else []
        begun = [beginning for beginning in ADDED if f"{command} {said}".startswith(beginning)]
        added = ADDED[max(begun, key=len)] if begun else []
        if command == "train" and "output=" not in said:  # by default named after the second in which it begins
            added = [*added, f"output=outputs/train/{len(self.done)}"]
        words = [self.actual(word) for word in [*arguments, *usual]] + added
        if command in SERVING:
            self.start(command, *words)
        else:
            done = self.command(command, *words, **self.variables)
            assert done.returncode == 0, f"forehand {command} {shlex.join(words)}\n{done.stdout}\n{done.stderr}"

    def actual(self, word: str) -> str:
        for said, meant in (SUBSTITUTED | self.addresses).items():
            word = word.replace(said, meant)
        return word

    def start(self, command: str, *words: str) -> None:
        log = self.folder / f"{command}.log"
        with log.open("w") as complaints:
            process = ChildProcess(
                [*PROGRAM, command, *words],
                cwd=self.folder,
                env={**os.environ, **self.variables},
                stdout=subprocess.PIPE,
                stderr=complaints,
                deadline=1500,
            )
        self.running.append(process)
        assert process.stdout
        line = process.stdout.readline()
        assert " on tcp://" in line, log.read_text()
        self.addresses[PAGE_ADDRESS[command]] = line.split()[-1]

    @property
    def variables(self) -> dict[str, str]:
        return {
            "FOREHAND_CACHE": str(self.folder / "cache"),
            "FOREHAND_KEYS": str(self.folder / "keys"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(self.site),
        }


@pytest.fixture
def follower(tmp_path, tmp_path_factory, own_process, in_process):
    someone = Follower(tmp_path, tmp_path_factory.mktemp("site"), own_process, in_process)
    yield someone
    for process in someone.running:
        process.send_signal(signal.SIGINT)
    for process in someone.running:
        process.finish()


def write_foreign_dataset(root: Path) -> None:
    """A dataset as people have them: one camera called ``top``, six joints, and no word about what they mean."""
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    joints = {"dtype": "float32", "shape": (6,), "names": [f"joint_{i}" for i in range(6)]}
    image = {"dtype": "video", "shape": (48, 64, 3), "names": ["height", "width", "channels"]}
    features = {"observation.images.top": image, "observation.state": joints, "action": joints}
    dataset = LeRobotDataset.create(
        "you/your_dataset", 20, features, root=root, rgb_encoder=RGBEncoderConfig(vcodec="h264")
    )
    generator = np.random.default_rng(0)
    for _ in range(8):
        joints_now = generator.standard_normal(6).astype(np.float32)
        picture = generator.integers(0, 256, (48, 64, 3), np.uint8)
        frame = {"observation.images.top": picture, "observation.state": joints_now, "action": joints_now}
        dataset.add_frame(frame | {"task": "fold the towel"})
    dataset.save_episode()
    dataset.finalize()


def write_videos(folder: Path) -> None:
    """Videos with a sentence beside each, larger, wider and faster than what a policy is to see."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("take_1", "take_2"):
        writer = VideoWriter(folder / f"{name}.mp4", 20, 144, 192, Encoding())
        for _ in range(12):
            writer.write(generator.integers(0, 256, (144, 192, 3), np.uint8))
        writer.close()
        (folder / f"{name}.txt").write_text("lift the red block\n")


def write_foreign_recordings(folder: Path) -> None:
    """Small recordings in other formats, where the page about importing has them."""
    write_calvin(folder / "task_ABC_D/training")
    write_libero(folder / "libero_90/KITCHEN_SCENE1_open_the_drawer_demo.hdf5", idle=(1,))
    write_robomimic(folder / "lift/ph/image.hdf5")
    write_step_folders(folder / "folded", (2,))
    write_rlds(folder, "droid_100", DROID, [[droid_episode(2, ("push the cup", "", ""))]])
    write_bag(folder / "bags/one", recording(0.3))
    write_pusht(folder / "pusht.zarr")
    write_rlds(folder, "kitchen", BRIDGE, [[bridge_episode(2, "open the oven")]])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tour", TOURS)
def test_what_the_pages_say_works(tour, follower):
    """One test for the pages of a tour, because each block relies on what those above it left behind."""
    if "docs/guides/datasets.md" in TOURS[tour]:
        write_foreign_dataset(follower.folder / "you" / "your_dataset")
    if "docs/guides/importing.md" in TOURS[tour]:
        write_foreign_recordings(follower.folder)
    if "docs/guides/video.md" in TOURS[tour]:
        write_videos(follower.folder / "videos")
    for line in BEFORE.get(tour, []):
        follower.type(line)
    for block in (block for page in TOURS[tour] for block in BLOCKS[page]):
        try:
            follower.do(block)
            for process in follower.running:
                assert process.poll() is None, f"{process.args} ended"
        except Exception as error:
            error.add_note(f"on {block.page}:\n{block.text}")
            raise


def test_every_robot_of_the_guide_conforms(follower):
    for block in read_blocks("docs/guides/robots.md"):
        if block.language == "python":
            follower.do(block)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_pages_have_what_they_must_have():
    assert {"bash", "python", "yaml", "toml"} <= {block.language for block in ALL}
    typed = {line for block in ALL if block.language == "bash" for line in block.lines}
    assert set(NOT_TYPED) <= typed, "NOT_TYPED lists what no page says any longer"
    said = {shlex.split(line)[1] for line in typed if line.startswith("forehand ")}
    assert said >= {"record", "train", "serve", "robot", "run", "eval", "plugins", "keys", "doctor"}
    for word in SUBSTITUTED:
        assert any(word in block.text for block in ALL)


def test_a_plugin_takes_30_lines():
    files = [block for block in BLOCKS["docs/guides/plugins.md"] if block.file_name]
    lines = [line for block in files for line in block.text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(files) == 3
    assert len(lines) <= 30


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", text)
    folders = re.findall(r"^\| `([^`]+/)`", text, re.MULTILINE) if page == "README.md" else []
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
    assert [folder for folder in folders if not (ROOT / folder).exists()] == []


def test_every_extra_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs/getting-started/installation.md").read_text(encoding="utf-8")
    named = re.findall(r"'\.\[(\w+)\]'", page) + re.findall(r"`(\w+)`(?:,| \(|\.)", page.split("Extras:")[1])
    assert len(named) > 8
    assert set(named) <= set(extras)
    assert (ROOT / "constraints.txt").is_file()
