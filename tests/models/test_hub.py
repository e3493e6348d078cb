"""Weights from the Hugging Face hub, with its real client and a server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

CONTENT = b"weights of a backbone"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASK = """
import sys
import petl_bench as pb
from petl_bench.models.weights import resolve_weights
from petl_bench.api.registry import BACKBONES
try:
    fetch = not sys.argv[2:]
    resolved = resolve_weights(BACKBONES.get("viclip-b16"), sys.argv[1], fetch=fetch)
    print(resolved.label, resolved.sha256, resolved.path.read_bytes().decode())
except pb.WeightsError as error:
    print("WeightsError:", error)
"""


class Hub(BaseHTTPRequestHandler):
    """A hub with the repository `me/it`, which holds a README and one of ViCLIP-B/16's published files."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/me/it/tree/"):
            files = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in ("README.md", FILE)]
            self._send(200, json.dumps(files).encode(), body, "application/json")
        elif path == f"/me/it/resolve/main/{FILE}":
            self._send(200, CONTENT, body, "application/octet-stream")
        else:
            self._send(404, b"{}", body, "application/json")

    def _send(self, status: int, content: bytes, body: bool, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


FILE = "ViCLIP-B_InternVid-FLT-10M.pth"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(text: str, endpoint: str, home: Path, *more: str) -> str:
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, text, *more],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("text", ["hf:me/it", f"hf:me/it/{FILE}"])
def test_a_published_file_is_fetched_and_hashed(text: str, endpoint: str, tmp_path: Path) -> None:
    assert ask(text, endpoint, tmp_path) == f"{text} {hashlib.sha256(CONTENT).hexdigest()} {CONTENT.decode()}"


def test_what_was_fetched_once_needs_no_server(endpoint: str, tmp_path: Path) -> None:
    first = ask(f"hf:me/it/{FILE}", endpoint, tmp_path)
    assert ask(f"hf:me/it/{FILE}", "http://127.0.0.1:9", tmp_path) == first


@pytest.mark.parametrize("text", ["hf:me/it", f"hf:me/it/{FILE}"])
def test_the_cache_alone_is_asked_if_nothing_is_to_be_fetched(text: str, endpoint: str, tmp_path: Path) -> None:
    assert ask(text, endpoint, tmp_path, "from the cache").startswith(f"WeightsError: --weights {text}: ")
    first = ask(text, endpoint, tmp_path)
    assert ask(text, endpoint, tmp_path, "from the cache") == first


@pytest.mark.parametrize("text", ["hf:me/it/other.pth", "hf:me/none"])
def test_what_is_not_there_is_one_line(text: str, endpoint: str, tmp_path: Path) -> None:
    said = ask(text, endpoint, tmp_path)
    assert said.startswith(f"WeightsError: --weights {text}: ")
    assert "404" in said and "\n" not in said
