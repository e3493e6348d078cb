"""As much of the Hub as its client asks for: repositories in memory, behind a server on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import yaml

#: A token of the user `me`.
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"
_API = re.compile(
    r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(revision|tree|branch|preupload|commit)/([^/]+))?(?:/.*)?"
)
_FILE = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")
_BATCH = re.compile(r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """Its files by commit, and the commits of its branches."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add files to a branch, in a new commit."""
        whole = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        number = hashlib.sha1(f"{len(self.commits)} {sorted(whole)}".encode()).hexdigest()
        self.commits[number] = whole
        self.branches[branch] = number
        return number

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a branch or commit, and its files."""
        number = self.branches.get(revision, revision)
        return (number, self.commits[number]) if number in self.commits else None


@dataclass
class FakeHub:
    """What the server knows. `answers`: in place of the Hub's answers, a status with a text. `asked`: every request."""

    models: dict[str, Repository] = field(default_factory=dict)
    datasets: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    answers: tuple[int, bytes] | None = None
    sizes: dict[str, int] = field(default_factory=dict)  #: what is claimed of files
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def fetched(self) -> list[str]:
        """The files that were fetched, in their order."""
        return [match[4] for each in self.asked if each.startswith("GET") and (match := _FILE.search(each))]


@contextmanager
def serving(hub: FakeHub) -> Iterator[None]:
    """Serve it at `hub.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(self.path.split("?")[0])
        self.hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.answers is not None:
            self._send(*self.hub.answers, kind="text/html")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif match := _BATCH.fullmatch(path):
            self._batch(json.loads(body))
        elif path.startswith("/lfs/"):
            self.hub.blobs[path.removeprefix("/lfs/")] = body
            self._send(200, b"")
        elif match := _API.fullmatch(path):
            self._api(match, body)
        elif match := _FILE.fullmatch(path):
            self._file(match)
        else:
            self._send(404, b"{}")

    @property
    def _user(self) -> str | None:
        return "me" if self.headers.get("Authorization") == f"Bearer {TOKEN}" else None

    def _create(self, asked: dict[str, Any]) -> None:
        owner = asked.get("organization") or self._user
        name = f"{owner}/{asked['name']}"
        if self._user is None:
            return self._json(401, {"error": "Invalid username or password."})
        if owner != self._user:
            return self._json(403, {"error": f"You don't have the rights, token {TOKEN}"})
        if name in self.hub.models:
            return self._json(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.models[name] = Repository(private=bool(private))
        self.hub.models[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._json(200, {"url": f"{self.hub.url}/{name}", "id": name})

    def _validate(self, content: str) -> None:
        try:
            values = yaml.safe_load(content.split("---\n")[1])
            errors = [] if isinstance(values, dict) else [{"message": "no mapping"}]
        except (yaml.YAMLError, IndexError) as error:
            errors = [{"message": str(error)}]
        self._json(400 if errors else 200, {"errors": errors, "warnings": []})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{each['oid']}"}}} for each in asked["objects"]
        ]
        self._json(200, {"transfer": "basic", "objects": objects})

    def _api(self, match: re.Match[str], body: bytes) -> None:
        kind, name, what, revision = match.groups()
        repository = getattr(self.hub, kind).get(name)
        if repository is None or (repository.private and self._user is None):
            return self._json(401 if self._user is None else 404, {"error": "Repository not found"}, "RepoNotFound")
        if what in ("branch", "preupload", "commit") and name.partition("/")[0] != self._user:
            return self._json(403, {"error": "Forbidden"})
        if what == "branch":
            known = revision in repository.branches
            repository.branches.setdefault(revision, repository.branches["main"])
            return self._json(409 if known else 200, {})
        found = repository.at(revision or "main")
        if found is None:
            return self._json(404, {"error": "Invalid rev id"}, "RevisionNotFound")
        commit, files = found
        if what == "preupload":
            return self._preupload(json.loads(body), files)
        if what == "commit":
            return self._commit(name, repository, revision, body)
        sizes = {file: self.hub.sizes.get(file, len(content)) for file, content in files.items()}
        if what == "tree":
            return self._json(
                200, [{"type": "file", "path": each, "size": sizes[each], "oid": _oid(files[each])} for each in files]
            )
        siblings = [{"rfilename": each, "size": sizes[each], "blobId": _oid(files[each])} for each in files]
        return self._json(200, {"id": name, "sha": commit, "private": repository.private, "siblings": siblings})

    def _preupload(self, asked: dict[str, Any], files: dict[str, bytes]) -> None:
        answer = []
        for each in asked["files"]:
            path, mode = each["path"], "lfs" if each["path"].endswith(".safetensors") else "regular"
            content = files.get(path)
            oid = None if content is None else hashlib.sha256(content).hexdigest() if mode == "lfs" else _oid(content)
            answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json(200, {"files": answer})

    def _commit(self, name: str, repository: Repository, branch: str, body: bytes) -> None:
        added = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                added[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                raise AssertionError(line)
        commit = repository.commit(added, branch)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self._json(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def _file(self, match: re.Match[str]) -> None:
        of_data, name, revision, file = match.groups()
        repository = (self.hub.datasets if of_data else self.hub.models).get(name)
        found = repository.at(revision) if repository else None
        if found is None or file not in found[1]:
            return self._json(404, {}, "EntryNotFound")
        return self._send(200, found[1][file], commit=found[0], kind="application/octet-stream")

    def _json(self, status: int, value: Any, code: str = "") -> None:
        self._send(status, json.dumps(value).encode(), code=code)

    def _send(
        self, status: int, content: bytes, *, kind: str = "application/json", commit: str = "", code: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if commit:
            self.send_header("ETag", f'"{_oid(content)}"')
            self.send_header("X-Repo-Commit", commit)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _oid(content: bytes) -> str:
    """The name that git gives a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
