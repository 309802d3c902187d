"""A hub on this machine: the part of the Hugging Face hub's HTTP API that its client uses for model repositories."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_swordfish"
"""Who has it may write, and read private repositories."""

LARGE = ".safetensors"

Files = dict[str, bytes]


@dataclass
class Repository:
    """Branches by name, and the files of each commit."""

    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: Files, message: str) -> str:
        listing = sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files.items())
        name = hashlib.sha1(f"{message}{len(self.commits)}{listing}".encode()).hexdigest()
        self.commits[name], self.branches[branch] = files, name
        self.messages.append(message)
        return name

    def files(self, branch: str = "main") -> Files:
        return self.commits[self.branches[branch]]


class FakeHub:
    """Repositories by name, and what was asked: ``METHOD path``."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.uploads: Files = {}
        self.asked: list[str] = []
        self.address = ""


class Refused(Exception):
    """A status other than 200, the hub's code for it, and what else the answer holds."""


def handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            path = unquote(urlsplit(self.path).path)
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                for method, pattern, work in ROUTES:
                    if self.command in method and (found := re.fullmatch(pattern, path)):
                        found_body = work(self, *found.groups())
                        break
                else:
                    raise Refused(404, "EntryNotFound")
                if found_body is not None:
                    self.send(json.dumps(found_body).encode(), {"Content-Type": "application/json"})
            except Refused as refused:
                status, code, *about = refused.args
                self.send(json.dumps({"error": code, **dict(*about)}).encode(), {"X-Error-Code": code}, status)

        do_GET = do_HEAD = do_POST = do_PUT = answer

        def send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def known(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def require_known(self) -> None:
            if not self.known():
                raise Refused(401, "Unauthorized")

        def repository(self, name: str) -> Repository:
            found = hub.repositories.get(name)
            if found is None or (found.private and not self.known()):
                raise Refused(401, "RepoNotFound")
            return found

        def at(self, name: str, revision: str | None) -> tuple[Repository, str]:
            found = self.repository(name)
            commit = found.branches.get(revision or "main", revision or "")
            if commit not in found.commits:
                raise Refused(404, "RevisionNotFound")
            return found, commit

        # ---- what is asked ----

        def create(self) -> dict[str, str]:
            self.require_known()
            asked = json.loads(self.body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in hub.repositories:
                raise Refused(409, "Conflict", {"url": f"{hub.address}/{name}"})
            hub.repositories[name] = made = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
            made.commit("main", {".gitattributes": b""}, "initial commit")
            return {"url": f"{hub.address}/{name}", "name": name, "id": name}

        def branch(self, name: str, branch: str) -> dict[str, str]:
            self.require_known()
            found = self.repository(name)
            if branch in found.branches:
                raise Refused(409, "Conflict")
            found.branches[branch] = found.branches["main"]
            return {}

        def info(self, name: str, revision: str | None = None) -> dict[str, object]:
            found, commit = self.at(name, revision)
            siblings = [{"rfilename": file} for file in found.commits[commit]]
            return {"id": name, "modelId": name, "sha": commit, "private": found.private, "siblings": siblings}

        def tree(self, name: str, revision: str) -> list[dict[str, object]]:
            found, commit = self.at(name, revision)
            entries: list[dict[str, object]] = []
            for path, data in found.commits[commit].items():
                entry = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                if path.endswith(LARGE):
                    digest = hashlib.sha256(data).hexdigest()
                    entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
                entries.append(entry)
            return entries

        def validate(self) -> dict[str, list[str]]:
            return {"errors": [], "warnings": []}

        def preupload(self, name: str, _: str) -> dict[str, object]:
            self.require_known()
            self.repository(name)
            files = [entry["path"] for entry in json.loads(self.body)["files"]]
            modes = {file: "lfs" if file.endswith(LARGE) else "regular" for file in files}
            return {"files": [{"path": f, "uploadMode": mode, "shouldIgnore": False} for f, mode in modes.items()]}

        def batch(self, _: str) -> dict[str, object]:
            self.require_known()
            objects = []
            for wanted in json.loads(self.body)["objects"]:
                upload = {"upload": {"href": f"{hub.address}/upload/{wanted['oid']}"}}
                objects.append({**wanted, **({} if wanted["oid"] in hub.uploads else {"actions": upload})})
            return {"transfer": "basic", "objects": objects}

        def upload(self, digest: str) -> dict[str, str]:
            assert hashlib.sha256(self.body).hexdigest() == digest
            hub.uploads[digest] = self.body
            return {}

        def commit(self, name: str, branch: str) -> dict[str, str]:
            self.require_known()
            found, before = self.at(name, branch)
            files, message = dict(found.commits[before]), ""
            for line in map(json.loads, self.body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    message = value["summary"]
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.uploads[value["oid"]]
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            commit = found.commit(branch, files, message)
            return {"commitUrl": f"{hub.address}/{name}/commit/{commit}", "commitOid": commit}

        def resolve(self, name: str, revision: str, file: str) -> None:
            found, commit = self.at(name, revision)
            if file not in found.commits[commit]:
                raise Refused(404, "EntryNotFound")
            data = found.commits[commit][file]
            digest = hashlib.sha256 if file.endswith(LARGE) else hashlib.sha1
            self.send(data, {"ETag": f'"{digest(data).hexdigest()}"', "X-Repo-Commit": commit})

    repo = r"([^/]+/[^/]+)"
    ROUTES = [
        ("POST", "/api/repos/create", Handler.create),
        ("POST", "/api/validate-yaml", Handler.validate),
        ("POST", f"/api/models/{repo}/branch/(.+)", Handler.branch),
        ("POST", f"/api/models/{repo}/preupload/(.+)", Handler.preupload),
        ("POST", f"/api/models/{repo}/commit/(.+)", Handler.commit),
        ("POST", rf"/{repo}\.git/info/lfs/objects/batch", Handler.batch),
        ("PUT", "/upload/(.+)", Handler.upload),
        ("GET", f"/api/models/{repo}/tree/([^/]+)", Handler.tree),
        ("GET", f"/api/models/{repo}/revision/(.+)", Handler.info),
        ("GET", f"/api/models/{repo}", Handler.info),
        ("GET HEAD", f"/{repo}/resolve/([^/]+)/(.+)", Handler.resolve),
    ]
    return Handler


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A hub that answers on loopback for the length of a ``with`` block."""
    hub = FakeHub()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(hub)) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
