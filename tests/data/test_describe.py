"""`petl-bench describe` against an endpoint on loopback that misbehaves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from petl_bench.api.registry import DATASETS
from petl_bench.cli.describe import command
from petl_bench.data.lists.descriptions import descriptions_for
from petl_bench.describing import generation
from petl_bench.errors import DataError, PetlBenchError, UsageError

KEY = "sk-secret-0123456789"
CLASSES = ["archery", "blow dry", "clap", "dive"]


def good(name: str, count: int, kind: str) -> list[str]:
    start = "A video about" if kind == "spatial" else f"A video of {name} generally involves"
    return [f"{start} the {word} of a person." for word in ("hands", "feet", "head", "arms", "back", "legs")[:count]]


class Handler(BaseHTTPRequestHandler):
    """Answers as the test's script says; `server.script(name, time asked)` returns a status, headers and a body."""

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = question["messages"][0]["content"]
        name = re.search(r'the action "(.+?)"', text)[1]
        self.server.asked[name] += 1
        self.server.questions.append((self.path, dict(self.headers), question, time.monotonic()))
        reply = self.server.script(name, self.server.asked[name], self)
        if reply is None:
            return
        status, headers, body = reply
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.questions: list[Any] = []
        self.kind = "spatial"
        self.released = threading.Event()
        self.script: Callable[..., Any] = lambda name, time, handler: self.right(name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def right(self, name: str, count: int = 2) -> Any:
        return chat(json.dumps(good(name, count, self.kind)))

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def chat(content: Any, **choice: Any) -> Any:
    return 200, {}, {"choices": [{"message": {"role": "assistant", "content": content}, **choice}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(generation, "BACKOFF", (0.01, 0.02))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    root.mkdir()
    (root / "labels.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(CLASSES)))
    for part in ("train", "test"):
        (root / f"{part}.txt").write_text("".join(f"{part}{i}.mp4 {i}\n" for i in range(len(CLASSES))))
    return root


Describe = Callable[..., Result]


@pytest.fixture
def describe(server: Server, videos: Path, tmp_path: Path) -> Describe:
    """Run the command on the four classes; afterwards the key must be nowhere."""

    def run(*flags: str, kind: str = "spatial", count: int = 2, model: str = "m1", url: str | None = None) -> Result:
        server.kind = kind
        values = {"dataset": "folder", "kind": kind, "count": count, "endpoint": url or server.url, "model": model}
        values |= {"output": tmp_path / "out", "timeout": 5, "attempts": 4, "set": f"folder.path={videos}"}
        arguments = [part for name, value in values.items() for part in (f"--{name}", str(value))]
        result = CliRunner().invoke(command, [*arguments, *flags], standalone_mode=False)
        files = [file.read_text() for file in (tmp_path / "out").rglob("*") if file.is_file()]
        assert not any(KEY in text for text in (result.output, str(result.exception), *files))
        return result

    return run


def written(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "out").iterdir())


def partial(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "2_s_description_folder.json.partial").read_text())["answers"]


# ---------------------------------------------------------------- what comes out


def test_file_in_the_published_format_and_what_it_was_made_from(describe: Describe, server: Server, tmp_path: Path):
    result = describe()
    assert result.return_value == 0
    assert written(tmp_path) == ["2_s_description_folder.json", "2_s_description_folder.provenance.json"]
    file = tmp_path / "out" / "2_s_description_folder.json"
    assert json.loads(file.read_text()) == {str(i): good(name, 2, "spatial") for i, name in enumerate(CLASSES)}
    made = json.loads(file.with_suffix(".provenance.json").read_text())
    assert made["request"]["model"] == "m1" and made["request"]["host"] == f"127.0.0.1:{server.server_port}"
    assert made["request"]["prompt"].startswith("Think of short videos")
    assert made["answers"]["clap"]["attempts"] == 1 and made["answers"]["clap"]["tokens"] == [11, 11]
    assert set(made["versions"]) == {"petl-bench", "httpx", "tenacity", "python"}
    assert result.stdout.strip().endswith(f"--set msta.descriptions={file} --set msta.description_kinds=spatial")
    assert "4 of 4 classes are not named in their sentences, e.g. 'archery'" in result.stderr
    assert {path for path, *_ in server.questions} == {"/v1/chat/completions"}
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, headers, *_ in server.questions)


def test_a_folder_with_a_name_has_files_of_that_name(describe: Describe, videos: Path, tmp_path: Path) -> None:
    result = describe("--dataset", f"kitchen={videos}", "--set", "kitchen.split_seed=2")
    assert result.return_value == 0
    assert "2_s_description_kitchen.json" in written(tmp_path)
    assert f"--datasets kitchen={videos} " in result.stdout
    assert "--set kitchen.split_seed=2 --set msta.descriptions_per_class=2" in result.stdout


def test_both_kinds_are_read_as_a_published_pair(describe: Describe, videos: Path, tmp_path: Path) -> None:
    assert describe().return_value == 0
    result = describe(kind="temporal")
    assert result.stdout.strip().endswith(f"--set msta.descriptions={tmp_path / 'out'}")
    dataset = DATASETS.get("folder")(path=str(videos))
    found = descriptions_for(dataset, ["clap", "dive"], 2, tmp_path / "out", CLASSES)
    assert found.temporal["clap"] == good("clap", 2, "temporal")
    assert found.notes == ()


def test_published_name_and_order_of_the_data_set(describe: Describe, server: Server, tmp_path: Path) -> None:
    plugin = tmp_path / "reordered.py"
    plugin.write_text(
        "import petl_bench as pb\nfrom petl_bench.api.dataset import Annotations, Dataset\n"
        "@pb.register_dataset('reordered')\nclass Reordered(Dataset):\n    description_name = 're_ordered'\n"
        "    def root(self, data_root):\n        return data_root\n"
        "    def annotations(self, root):\n        return Annotations(('kick', 'KickBall'), {}, {})\n"
        "    def description_order(self, classes):\n        return tuple(reversed(classes))\n"
    )
    flags = ["--dataset", "reordered", "--plugin", str(plugin), "--kind", "temporal", "--count", "2", "--model", "m"]
    server.kind = "temporal"
    place = ["--endpoint", server.url, "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(command, [*flags, *place], standalone_mode=False)
    assert result.return_value == 0
    content = json.loads((tmp_path / "out" / "2_t_description_re_ordered.json").read_text())
    assert [texts[0].split(" generally")[0] for texts in content.values()] == [
        "A video of kick ball",
        "A video of kick",
    ]


def test_a_finished_file_is_not_asked_for_again(describe: Describe, server: Server, tmp_path: Path) -> None:
    first = describe()
    asked = server.asked.total()
    again = describe()
    assert again.return_value == 0 and again.stdout == first.stdout and server.asked.total() == asked == 4
    with pytest.raises(UsageError, match="another request: model differs \\('m1', now 'm2'\\); move it away"):
        raise describe(model="m2").exception
    (tmp_path / "out" / "2_s_description_folder.json").write_text("{}")
    with pytest.raises(UsageError, match="was changed after it was made"):
        raise describe().exception


# ---------------------------------------------------------------- an endpoint that misbehaves


def hang_up(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.close()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (lambda s, h: (500, {}, b"oops"), None),
        (lambda s, h: (429, {"Retry-After": "0"}, b""), None),
        (lambda s, h: (429, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, b""), None),
        (lambda s, h: (503, {"Retry-After": "soon"}, b""), None),
        (lambda s, h: hang_up(h), None),
        (lambda s, h: (200, {}, b"<html>busy</html>"), "the response is not that of a chat endpoint"),
        (lambda s, h: (200, {}, b"[" * 100_000), "the response is not that of a chat endpoint"),
        (lambda s, h: (200, {}, {"choices": []}), "the response is not that of a chat endpoint"),
        (lambda s, h: chat(None), "the answer has no text"),
        (lambda s, h: chat('["A video about the', finish_reason="length"), "the answer was cut for its length"),
        (lambda s, h: (200, {}, b" " * (2 << 20)), "the response is larger than 1 MiB"),
        (lambda s, h: chat(f'["A video about the {KEY}.", "A video about the sea."]'), "the answer repeats the key"),
        (lambda s, h: chat('["A video about the sea."]'), "it has 1 sentences, not 2"),
        (lambda s, h: chat('["A video about the'), "it is not a valid JSON list"),
        (lambda s, h: chat('["El agua azul brilla.", "Una persona en casa."]'), "the sentences are not English"),
        (
            lambda s, h: chat('["Видео о лодке на воде.", "A video about the sea."]'),
            "sentence 1 is not in Latin letters ('В')",
        ),
    ],
)
def test_trouble_is_asked_again(
    describe: Describe, server: Server, tmp_path: Path, trouble: Callable[..., Any], reason: str | None
) -> None:
    def script(name: str, time: int, handler: Handler) -> Any:
        return trouble(server, handler) if name == "clap" and time == 1 else server.right(name)

    server.script = script
    assert describe().return_value == 0
    assert server.asked == {"archery": 1, "blow dry": 1, "clap": 2, "dive": 1}
    made = json.loads((tmp_path / "out" / "2_s_description_folder.provenance.json").read_text())["answers"]["clap"]
    assert made["attempts"] == 2
    assert made["rejected"] == ([reason] if reason else [])


def test_the_model_reads_what_was_wrong(describe: Describe, server: Server) -> None:
    server.script = lambda name, time, handler: server.right(name, count=1 if time == 1 else 2)
    assert describe().return_value == 0
    messages = next(question["messages"] for *_, question, _ in server.questions if len(question["messages"]) == 3)
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[2]["content"].startswith("That answer cannot be used: it has 1 sentences, not 2.")


def test_after_429_nobody_asks_before_the_time_that_it_names(describe: Describe, server: Server) -> None:
    first = threading.Lock()

    def script(name: str, time: int, handler: Handler) -> Any:
        return (429, {"Retry-After": "0.6"}, b"") if first.acquire(blocking=False) else server.right(name)

    server.script = script
    assert describe("--concurrency", "1").return_value == 0
    times = [at for *_, at in server.questions]
    assert times[1] - times[0] >= 0.6


def test_a_wait_of_an_hour_ends_the_run(describe: Describe, server: Server, tmp_path: Path) -> None:
    server.script = lambda name, number, handler: (
        (429, {"Retry-After": formatdate(3600 + time.time())}, b"") if name == "dive" else server.right(name)
    )
    result = describe("--concurrency", "1")
    assert re.search(r"status 429: it asks to wait 3[56]\d\d s. 3 of 4 classes are kept", str(result.exception))
    assert set(partial(tmp_path)) == {"archery", "blow dry", "clap"}


def test_what_is_done_is_kept_and_only_the_rest_is_asked_for(describe: Describe, server: Server, tmp_path: Path):
    server.script = lambda name, time, handler: server.right(name, 1 if name == "clap" else 2)
    result = describe()
    assert result.return_value == 1
    assert "1 of 4 classes have no usable answer:" in result.stderr
    assert "  clap: the answer cannot be used: it has 1 sentences, not 2" in result.stderr
    assert written(tmp_path) == ["2_s_description_folder.json.partial"]
    server.asked.clear()
    server.script = lambda name, time, handler: server.right(name)
    with pytest.raises(UsageError, match=r"partial holds descriptions of another request: model differs"):
        raise describe(model="m2").exception
    assert describe().return_value == 0
    assert server.asked == {"clap": 1}


SILENCES = ["no answer within 0.3 s", r"no connection \(ConnectError: .*\)", "status 500"]


@pytest.mark.parametrize("silence", SILENCES)
def test_an_endpoint_that_never_answers(describe: Describe, server: Server, tmp_path: Path, silence: str) -> None:
    server.script = lambda *_: (500, {}, b"") if silence == "status 500" else server.released.wait(20) and None
    url = "http://127.0.0.1:9/v1" if silence.startswith("no connection") else None
    started = time.monotonic()
    result = describe("--timeout", "0.3", url=url)
    assert time.monotonic() - started < 10
    assert isinstance(result.exception, DataError)
    end = r"\. 0 of 4 classes are kept; the same command asks for the others"
    assert re.fullmatch(rf"127.0.0.1:\d+: no answer in 4 attempts, at last: {silence}{end}", str(result.exception))
    assert written(tmp_path) == []


def test_an_answer_that_drips_is_a_time_out(describe: Describe, server: Server) -> None:
    def script(name: str, number: int, handler: Handler) -> Any:
        handler.send_response(200)
        handler.end_headers()
        while not server.released.wait(0.05):
            handler.wfile.write(b" ")

    server.script = script
    result = describe("--timeout", "0.4", "--attempts", "1")
    assert "no answer within 0.4 s" in str(result.exception)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {}, {"error": {"message": f"Incorrect API key {KEY}"}}), "status 401: it does not accept the key"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "status 302: it redirects; name the final address"),
        ((404, {}, {"error": {"message": f"no model\nm1 for {KEY}"}}), r"status 404: no model m1 for \*\*\*\."),
        ((400, {}, b"not json"), r"status 400\. 0 of 4"),
    ],
)
def test_refusals_are_not_repeated(describe: Describe, server: Server, reply: Any, message: str) -> None:
    server.script = lambda name, time, handler: reply
    result = describe("--concurrency", "1")
    assert isinstance(result.exception, DataError) and re.search(message, str(result.exception))
    assert server.asked.total() == 1


def test_one_refused_class_does_not_stop_the_others(describe: Describe, server: Server, tmp_path: Path) -> None:
    server.script = lambda name, time, handler: (
        (server.released.wait(0.3), (400, {}, b""))[1] if name == "clap" else server.right(name)
    )
    result = describe("--concurrency", "4")
    assert result.return_value == 1 and "  clap: status 400" in result.stderr
    assert set(partial(tmp_path)) == {"archery", "blow dry", "dive"}


def test_no_more_than_the_limit_at_once(describe: Describe, server: Server) -> None:
    busy, most, lock = [0], [0], threading.Lock()

    def script(name: str, number: int, handler: Handler) -> Any:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.1)
        with lock:
            busy[0] -= 1
        return server.right(name)

    server.script = script
    assert describe("--concurrency", "2").return_value == 0
    assert most[0] == 2


@pytest.mark.drill
@pytest.mark.ci
def test_ctrl_c_keeps_what_is_done(server: Server, videos: Path, tmp_path: Path) -> None:
    server.script = lambda name, time, handler: server.released.wait(30) if name == "dive" else server.right(name)
    values = ["--kind", "spatial", "--count", "2", "--endpoint", server.url, "--model", "m1", "--output"]
    folder = ["--dataset", "folder", "--set", f"folder.path={videos}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "petl_bench", "describe", *folder, *values, str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
    )
    file = tmp_path / "out" / "2_s_description_folder.json.partial"
    deadline = time.monotonic() + 60
    while not (file.exists() and len(json.loads(file.read_text())["answers"]) == 3):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"interrupted; 3 of 4 classes are kept in {file}. Type the same command again to go on" in errors
    assert "Traceback" not in errors and KEY not in errors


def test_a_key_that_cannot_be_sent_is_not_shown(describe: Describe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-bad\nkey")
    result = describe("--key-variable", "MY_KEY")
    assert str(result.exception) == "$MY_KEY holds characters that no key has; its content is not shown here"


def test_without_a_key_none_is_sent(describe: Describe, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    result = describe()
    assert "note: $OPENAI_API_KEY is not set; asking without a key" in result.stderr
    assert all("Authorization" not in headers for _, headers, *_ in server.questions)


@pytest.mark.parametrize("content", ["{", "{}", '{"request": {}, "answers": []}'])
def test_a_damaged_partial_file(describe: Describe, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "2_s_description_folder.json.partial").write_text(content)
    with pytest.raises(PetlBenchError, match=r"2_s_description_folder.json.partial: cannot be read.*move it away"):
        raise describe().exception
