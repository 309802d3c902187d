"""Datasets of the hub: which revision is read, and from where without a network."""

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from forehand.data.dataset import Dataset
from forehand.data.lerobot.hub import latest_format
from forehand.data.lerobot.locate import locate_dataset
from forehand.errors import ConfigurationError, DatasetError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of LeRobot (lerobot, lerobot/hub) and of the hub's client (hub), and no network."""
    monkeypatch.setattr("lerobot.utils.constants.HF_LEROBOT_HOME", tmp_path / "lerobot")
    monkeypatch.setattr("lerobot.utils.constants.HF_LEROBOT_HUB_CACHE", tmp_path / "lerobot/hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(cache: Path, dataset: Path, revision: str, commit: str = COMMIT) -> Path:
    """Lays a dataset into a cache as the hub's client does: a file of each revision, and a folder of links to blobs."""
    repository = cache / "datasets--tests--small"
    for file in sorted(path for path in dataset.rglob("*") if path.is_file()):
        blob = repository / "blobs" / f"{commit[:6]}-{file.relative_to(dataset).as_posix().replace('/', '-')}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link = repository / "snapshots" / commit / file.relative_to(dataset)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    return repository / "snapshots" / commit


@pytest.mark.parametrize("cache", ["lerobot/hub", "hub"])
def test_a_dataset_of_format_2_1_is_found_in_a_cache_without_a_network(caches: Path, v21: Path, cache: str):
    folder = keep(caches / cache, v21, "v2.1")
    assert locate_dataset("tests/small") == folder
    data = Dataset.open("tests/small")
    assert data.fingerprint == Dataset.open(v21).fingerprint
    assert data.statistics["observation.images.static"]["count"] == 21


def test_the_latest_format_or_the_revision_that_is_asked_for(caches: Path, v21: Path, twin: Path):
    old = keep(caches / "hub", v21, "v2.1")
    new = keep(caches / "hub", twin, "v3.0", COMMIT[::-1])
    assert locate_dataset("tests/small") == new
    assert locate_dataset("tests/small", "v2.1") == old
    assert locate_dataset("tests/small", COMMIT) == old
    assert Dataset.open({"path": "tests/small", "revision": "v2.1"}).roots == (old,)
    with pytest.raises(DatasetError, match=r"no folder .*tests/small, and as a hub repository it could not be had"):
        locate_dataset("tests/small", "v2.0")


@pytest.fixture
def hub(v21: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine with the dataset tests/small, whose branch main and tag v2.1 are of format 2.1."""
    asked: list[str] = []
    files = sorted(path.relative_to(v21).as_posix() for path in v21.rglob("*") if path.is_file())
    refs = [{"name": name, "ref": name, "targetCommit": COMMIT} for name in ("main", "v2.1", "v1.6")]
    pages = {
        "/api/datasets/tests/small/refs": {"branches": refs[:1], "tags": refs[1:], "converts": []},
        "/api/datasets/tests/small/revision/v2.1": {"id": "tests/small", "sha": COMMIT, "siblings": []},
        f"/api/datasets/tests/small/tree/{COMMIT}": [
            {"type": "file", "path": name, "oid": "0", "size": 1} for name in [*files, "README.md"]
        ],
    }

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            file = v21 / path.removeprefix(f"/datasets/tests/small/resolve/{COMMIT}/")
            if path not in pages and not file.is_file():
                self.send_error(404)
                return
            content = json.dumps(pages[path]).encode() if path in pages else file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{file.name}-{len(content)}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield asked
    server.shutdown()
    server.server_close()


def test_the_latest_format_is_fetched_once(caches: Path, v21: Path, hub: list[str]):
    folder = locate_dataset("tests/small")
    assert folder == caches / f"lerobot/hub/datasets--tests--small/snapshots/{COMMIT}"
    assert Dataset.open(folder).fingerprint == Dataset.open(v21).fingerprint
    assert not any(path.endswith("README.md") for path in hub)
    hub.clear()
    assert locate_dataset("tests/small") == folder
    assert [path for path in hub if "/resolve/" in path] == []


def test_a_folder_of_lerobots_comes_first(caches: Path, v21: Path):
    keep(caches / "hub", v21, "main")
    shutil.copytree(v21, caches / "lerobot/tests/small")
    assert locate_dataset("tests/small") == caches / "lerobot/tests/small"


def test_only_part_of_a_dataset_in_a_cache_is_named(caches: Path, v21: Path):
    folder = keep(caches / "hub", v21, "main")
    shutil.rmtree(folder / "data/chunk-001")
    with pytest.raises(DatasetError, match=r"lacks data/chunk-001/episode_000002\.parquet"):
        locate_dataset("tests/small")


def test_a_folder_has_no_revision(v21: Path):
    with pytest.raises(ConfigurationError, match=r"is a folder, and revision='v2\.1' is of repositories on the hub"):
        locate_dataset(str(v21), "v2.1")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["main", "v2.0", "v2.1", "v1.6"], "v2.1"),
        (["main", "v3.0", "v2.1", "v10.0"], "v3.0"),
        (["main", "v1.6", "v2"], "main"),
        ([], "main"),
    ],
)
def test_the_revision_of_the_latest_format_that_can_be_read(names: list[str], chosen: str):
    assert latest_format(names) == chosen
