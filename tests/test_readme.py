"""Everything that README.md tells a reader to type is typed here, in its order, in an empty folder.

Numbers are made small by what the tables below add; nothing else is different from what the page says.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

ADDED = {
    "record": ["episodes=2", "workers=1"],
    "train": ["recipe.steps=2", "recipe.batch_size=2"],
    "serve": ["address=tcp://127.0.0.1:0"],
    "robot": ["address=tcp://127.0.0.1:0"],
    "run": ["max_steps=3"],
    "eval": ["episodes=1", "tasks=[lift]", "videos=1"],
    "eval benchmark=tabletop-chains": ["episodes=1", "videos=1"],
    "gallery": ["sections=[environments]", "stills=64"],
}
"""What is typed after a line of the page that begins with ``forehand`` and these words: a small case of it."""

SUBSTITUTED = {"recipe.seed=0,1,2": "recipe.seed=0,1", "PUBLIC_KEY": "ab" * 32}
"""Words of the page for which another one stands in."""

SERVING = ("serve", "robot")
"""Commands that the page gives a terminal of their own; where they listen takes the place of the page's addresses."""
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


@dataclass(frozen=True)
class Block:
    """One fenced block of the page."""

    section: str
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


def read_blocks() -> list[Block]:
    """The fenced blocks of the page, in their order."""
    found = []
    for section in re.split(r"^## ", README, flags=re.MULTILINE):
        title = section.partition("\n")[0]
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL):
            found.append(Block(title, language, text))
    return found


BLOCKS = read_blocks()
SECTIONS = list(dict.fromkeys(block.section for block in BLOCKS))


@dataclass
class Follower:
    """One who does what the page says, section by section, in ``folder``."""

    folder: Path
    site: Path
    followed: set[str] = field(default_factory=set)
    addresses: dict[str, str] = field(default_factory=dict)
    running: list[subprocess.Popen] = field(default_factory=list)

    def follow(self, section: str) -> None:
        """Follow ``section``, and before it those that stand above it."""
        for title in SECTIONS[: SECTIONS.index(section) + 1]:
            if title not in self.followed:
                self.followed.add(title)
                for block in BLOCKS:
                    if block.section == title:
                        self.do(block)

    def do(self, block: Block) -> None:
        if block.file_name:
            path = self.folder / block.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            for line in block.lines:
                self.type(line)
        elif block.language == "python":
            self.run(sys.executable, "-c", block.text)
        else:
            assert block.language == "bibtex", f"nobody knows how to follow this block:\n{block.text}"

    def type(self, line: str) -> None:
        program, *arguments = shlex.split(line)
        if line in NOT_TYPED:
            if program == "make":
                subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
        elif program == "forehand":
            self.forehand(*arguments)
        elif (program, *arguments[:1]) == ("pip", "install"):
            self.run(sys.executable, "-m", "pip", "install", *OFFLINE, "--target", str(self.site), *arguments[1:])
        else:
            raise AssertionError(f"the page says {line!r}, which is neither typed here nor listed in NOT_TYPED")

    def forehand(self, command: str, *arguments: str) -> None:
        said = " ".join(arguments)
        # The page relies on the usual port of robot hosts here; in tests it is another.
        usual = [REMOTE + PAGE_ADDRESS["robot"]] if "robot=remote" in said and REMOTE not in said else []
        begun = [beginning for beginning in ADDED if f"{command} {said}".startswith(beginning)]
        added = ADDED[max(begun, key=len)] if begun else []
        words = [self.actual(word) for word in [*arguments, *usual]] + added
        if command in SERVING:
            self.start(command, *words)
        else:
            self.run(*PROGRAM, command, *words)

    def actual(self, word: str) -> str:
        for said, meant in (SUBSTITUTED | self.addresses).items():
            word = word.replace(said, meant)
        return word

    def run(self, *command: str) -> None:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"

    def start(self, command: str, *words: str) -> None:
        log = self.folder / f"{command}.log"
        with log.open("w") as complaints:
            process = subprocess.Popen(
                [*PROGRAM, command, *words],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )
        self.running.append(process)
        assert process.stdout
        line = process.stdout.readline()
        assert " on tcp://" in line, log.read_text()
        self.addresses[PAGE_ADDRESS[command]] = line.split()[-1]

    @property
    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k not in ("FOREHAND_PLUGINS", "HYDRA_FULL_ERROR")}
        return inherited | {
            "FOREHAND_CACHE": str(self.folder / "cache"),
            "FOREHAND_KEYS": str(self.folder / "keys"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(self.site),
        }


@pytest.fixture(scope="module")
def follower(tmp_path_factory):
    someone = Follower(tmp_path_factory.mktemp("reader"), tmp_path_factory.mktemp("site"))
    yield someone
    for process in someone.running:
        process.send_signal(signal.SIGINT)
    for process in someone.running:
        process.communicate(timeout=60)


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


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("section", SECTIONS)
def test_what_the_page_says_works(follower, section, monkeypatch):
    if section == "Your own dataset" and not (follower.folder / "you").exists():
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        write_foreign_dataset(follower.folder / "you" / "your_dataset")
    follower.follow(section)
    for process in follower.running:
        assert process.poll() is None, f"{process.args} ended"


def test_the_page_has_what_it_must_have():
    assert {"bash", "python", "yaml", "toml"} <= {block.language for block in BLOCKS}
    typed = {line for block in BLOCKS if block.language == "bash" for line in block.lines}
    assert set(NOT_TYPED) <= typed, "NOT_TYPED lists what the page no longer says"
    said = {shlex.split(line)[1] for line in typed if line.startswith("forehand ")}
    assert said >= {"record", "train", "serve", "robot", "run", "eval"}
    for word in SUBSTITUTED:
        assert word in README


def test_a_plugin_takes_30_lines():
    files = [block for block in BLOCKS if block.section == "A plugin in 30 lines" and block.file_name]
    lines = [line for block in files for line in block.text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(files) == 3
    assert len(lines) <= 30


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README) + re.findall(r"^\| `([^`]+)`", README, re.MULTILINE)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_extra_exists():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"'\.\[(\w+)\]'", README)
    assert named
    assert set(named) <= set(extras)
    assert (ROOT / "constraints.txt").is_file()
