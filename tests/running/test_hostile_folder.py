"""A folder of runs that somebody else may have written: no text of it commands a terminal, a spreadsheet, LaTeX, a
browser or a shell, and no broken file stops a command."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petl_bench.api.trial import Trial
from petl_bench.cli import cli
from petl_bench.errors import PetlBenchError
from petl_bench.managing.status import survey
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from petl_bench.running.attempts import claims, requests
from petl_bench.running.attempts.submissions import read_submissions
from petl_bench.running.planning.saved_plans import read_plans
from tests.reports.synthetic_records import make_result, make_trial

PAYLOAD = (
    "=cmd|'/C calc'!A0 \x1b]0;title\x07\x1b[31m\x9b2J\r[bold]red[/bold]</td><script>alert(1)</script>"
    "\\input{/etc/passwd} $(touch pwned) `touch pwned` '; touch pwned; '\u202eevil\u2066\u200b\n"
    "fill the rest with: touch pwned"
)
#: No character, so no text of a trial, of which a hash is taken; other texts of a record may have it.
NO_CHARACTER = "\ud800"
FORMATS = ("terminal", "markdown", "latex", "csv", "html", "json")


def petl_bench(*arguments: str) -> tuple[str, str]:
    """What a command prints, to stdout and to stderr; errors for people count as printed."""
    result = CliRunner().invoke(cli, arguments)
    if isinstance(result.exception, PetlBenchError):
        return result.stdout, f"{result.stderr}petl-bench: {result.exception}\n"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout, result.stderr


def finish(runs: Path, trial: Trial, base: float = 75.0) -> Path:
    """Leave a record of the trial, in which every text that a trial decides is hostile."""
    text = PAYLOAD + NO_CHARACTER
    result = make_result(base, 50.0, trainable=7)
    result.notes, result.environment = [text], dict.fromkeys(("device", "processor", "software"), text)
    evaluation = result.evaluations["base"]
    evaluation.classes = (text, *evaluation.classes[1:])
    evaluation.clips = [f"{text}{number}" for number in range(len(evaluation.clips))]
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    return write_record(folder, trial, result, created=PAYLOAD).parent


def hostile_trial(seed: int, **values: Any) -> Trial:
    texts = dict.fromkeys(("method_version", "split", "weights", "decoder", "part", "backbone"), PAYLOAD)
    return make_trial(
        seed=seed,
        **{**texts, "hyper_parameters": {PAYLOAD: PAYLOAD}, "dataset_options": {PAYLOAD: [PAYLOAD]}, **values},
        locations={PAYLOAD: {PAYLOAD: PAYLOAD}},
    )


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which every text is hostile: records, plans, attempts, submissions, logs, names of folders."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    for seed in (0, 1):
        for method in ("msta", PAYLOAD):
            finish(runs, hostile_trial(seed, method=method, dataset=PAYLOAD), 75.0 if method == "msta" else 50.0)
        finish(runs, make_trial("lora", seed))
    planned = "ab" * 32
    (runs / "plans").mkdir()
    for name, command in (("a", PAYLOAD), ("b", f"petl-bench run --methods a; {PAYLOAD}"), ("c", "touch pwned")):
        plan = {"command": command, "started_at": 1.0, "trials": {planned: PAYLOAD, "cd" * 32: PAYLOAD}}
        (runs / "plans" / f"{name}.json").write_text(json.dumps(plan))
    folder = trial_folder(runs, planned)
    (folder / "attempts").mkdir(parents=True)
    (folder / "log.txt").write_text(PAYLOAD + NO_CHARACTER, errors="surrogatepass")
    attempt = asdict(claims.Attempt(number=1, pid=1, started_at=1.0, ended_at=2.0, outcome="failed"))
    texts = dict.fromkeys(("title", "host", "machine", "reason"), PAYLOAD)
    (folder / "attempts" / "0001.json").write_text(json.dumps({**attempt, **texts, PAYLOAD: PAYLOAD}))
    (runs / "submissions").mkdir()
    submission = {"submitted_at": 1.0, "host": PAYLOAD, "user": PAYLOAD, "folder": str(runs)}
    for name, values in (
        ("good", {"launcher": "local", "job": "7", "tasks": {"7_0": ["cd" * 32]}}),
        ("job", {"launcher": "local", "job": PAYLOAD, "tasks": {"7_0": [planned]}}),
        ("task", {"launcher": "local", "job": "7", "tasks": {"--help": [planned]}}),
        ("key", {"launcher": "local", "job": "7", "tasks": {"7_0": ["../../etc"]}}),
    ):
        (runs / "submissions" / f"{name}.json").write_text(json.dumps({**submission, **values}))
    (runs / "trials" / PAYLOAD.replace("/", "")[:100]).mkdir()
    damaged = finish(runs, make_trial("lora", 7))
    (damaged / "predictions-novel.npz").write_bytes(b"no zip")
    return runs


def unseen(text: str) -> set[str]:
    """Characters that a terminal obeys, or that nobody sees."""
    return set(
        re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]", text)
    )


def commands_of(runs: Path) -> Iterator[tuple[str, ...]]:
    folder = ("--runs", str(runs))
    yield ("status", *folder)
    yield ("status", *folder, "--json")
    yield ("logs", "ab" * 32, *folder)
    yield ("logs", "cd" * 32, *folder)
    yield ("logs", "seed", *folder)
    yield ("cancel", *folder)
    yield ("runs", "verify", *folder)
    yield ("compare", "msta", "lora", *folder)
    yield ("compare", PAYLOAD, "msta", *folder)
    yield ("report", *folder, "--table", "base2novel", "--baseline", PAYLOAD)
    yield ("report", *folder, "--table", "base2novel", "--explain", "base2novel", "lora", "motion HM")
    for output_format in FORMATS:
        yield ("report", *folder, "--table", "base2novel", "--format", output_format)


def test_nothing_of_a_hostile_folder_commands_a_terminal(runs: Path) -> None:
    for arguments in commands_of(runs):
        out, err = petl_bench(*arguments)
        found = unseen(out) | unseen(err)
        assert not found, (arguments[0], found)
        # A log has lines of its own, and a table breaks long names into lines.
        own = err if arguments[0] in ("logs", "report") else f"{out}\n{err}"
        assert not re.search("^(fill the rest with: )?touch", own, flags=re.MULTILINE), arguments
        assert out + err, arguments
    assert not Path("pwned").exists()


def test_the_texts_are_whole_where_programs_read_them(runs: Path) -> None:
    table = json.loads(petl_bench("report", "--runs", str(runs), "--table", "base2novel", "--format", "json")[0])
    assert any(PAYLOAD in row["label"] for group in table["groups"] for row in group["rows"])
    out = petl_bench("report", "--runs", str(runs), "--table", "base2novel", "--format", "csv")[0]
    cells = [cell for line in csv.reader(io.StringIO(out)) for cell in line]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in cells)


def test_a_browser_gets_no_element_of_a_record(runs: Path, tmp_path: Path) -> None:
    class Tags(html.parser.HTMLParser):
        scripts = 0

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.scripts += tag == "script"

    petl_bench("report", "--runs", str(runs), "--output", str(tmp_path / "site") + "/")
    for text, own in (
        ((tmp_path / "site" / "index.html").read_text(), 4),
        (petl_bench("report", "--runs", str(runs), "--table", "base2novel", "--format", "html")[0], 0),
    ):
        tags = Tags()
        tags.feed(text)
        assert tags.scripts == own
        assert not unseen(text) - {"\x7f"}


def test_only_commands_that_are_made_here_are_advised(runs: Path) -> None:
    assert survey(runs).commands == []
    plan = {"command": "petl-bench run --methods 'a b' --output \"x\"", "started_at": 2.0, "trials": {"cd" * 32: "t"}}
    (runs / "plans" / "d.json").write_text(json.dumps(plan))
    (command,) = survey(runs).commands
    assert shlex.split(command) == ["petl-bench", "run", "--methods", "a b", "--output", str(runs)]
    out, err = petl_bench("status", "--runs", str(runs))
    assert f"fill the rest with: petl-bench run --methods 'a b' --output {runs}\n" in out
    assert err.count("not one that petl-bench makes") == 3
    assert err.count("not used:") == 6


# Broken files


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A folder with one planned trial, of which one attempt failed."""
    runs = tmp_path / "runs"
    (runs / "plans").mkdir(parents=True)
    values = {"command": "petl-bench run --methods msta", "started_at": 1.0, "trials": {"ab" * 32: "msta seed 0"}}
    (runs / "plans" / "good.json").write_text(json.dumps(values))
    claim = claims.take(trial_folder(runs, "ab" * 32), "msta seed 0")
    assert claim is not None
    claim.end("failed", "a reason")
    (runs / "submissions").mkdir()
    return runs


def names_of_broken_files(runs: Path) -> list[Path]:
    attempts = trial_folder(runs, "ab" * 32) / "attempts"
    submissions = runs / "submissions"
    return [
        attempts / "0002.json",
        runs / "plans" / "bad.json",
        submissions / "bad.json",
        runs / "requests" / "0001.json",
    ]


def write_all(runs: Path, content: bytes) -> None:
    for path in names_of_broken_files(runs):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


BROKEN = [b"\xff\x00", b"[" * 100_000, b"{}", b"[1]", b"null", b'{"number": "x", "trials": 3}', b"1" * 5_000]
BROKEN += [
    b'{"pid": 1e400}',
    b'{"pid": 1' + b"0" * 400 + b"}",
    b'{"pid": NaN}',
    b'{"pid": -5}',
    b'{"started_at": 1e15}',
    b'"\\ud800"',
    b" " * (1 << 27),
]


@pytest.mark.parametrize("content", BROKEN, ids=[each[:20].decode("latin-1") for each in BROKEN])
def test_a_broken_file_is_named_and_the_rest_goes_on(planned: Path, content: bytes) -> None:
    write_all(planned, content)
    out, err = petl_bench("status", "--runs", str(planned))
    assert "msta seed 0" in out
    named = [path for path in names_of_broken_files(planned) if str(path) in out + err]
    assert names_of_broken_files(planned)[1] in named
    assert "fill the rest with: petl-bench run --methods msta" in out or "running" in out
    assert petl_bench("logs", "msta", "--runs", str(planned))[1].count("attempt ") >= 2
    assert "cancelled" in petl_bench("cancel", "--runs", str(planned))[0]


def test_folders_pipes_and_links_stand_for_no_file(planned: Path) -> None:
    attempt, plan, submission, cancelled = names_of_broken_files(planned)
    attempt.mkdir()
    os.mkfifo(plan)
    submission.symlink_to("/dev/zero")
    cancelled.parent.mkdir()
    cancelled.symlink_to(planned / "nowhere")
    out, err = petl_bench("status", "--runs", str(planned))
    assert str(attempt) in out
    assert str(plan) in err
    assert str(submission) in err
    (planned / "log").mkdir()
    (trial_folder(planned, "ab" * 32) / "log.txt").mkdir()
    assert "log.txt: not a file" in petl_bench("logs", "msta", "--runs", str(planned))[1]


@pytest.mark.parametrize("seconds", [0, -1_000, 10**9])
def test_an_attempt_that_says_nothing_is_judged_by_its_heartbeat(
    planned: Path, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh: nobody else may run the trial. Old, or from a time to come: it does not hold the trial for ever."""
    monkeypatch.setattr(claims, "WATCH_S", 0.0)
    folder = trial_folder(planned, "ab" * 32)
    path = folder / "attempts" / "0002.json"
    path.write_bytes(b"[" * 100_000)
    os.utime(path, (time.time() + seconds,) * 2)
    claim = claims.take(folder, "msta seed 0")
    assert (claim is None) is (seconds == 0)
    state = survey(planned).trials[0].state
    assert state == "running"  # of us, if the other one held nothing
    if claim is not None:
        assert claim.attempt.number == 3
        claim.end("failed")


def test_a_link_to_nothing_does_not_stop_the_next_attempt(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "WATCH_S", 0.0)
    folder = trial_folder(planned, "ab" * 32)
    (folder / "attempts" / "0002.json").symlink_to("nowhere")
    os.utime(folder / "attempts" / "0002.json", (1, 1), follow_symlinks=False)
    claim = claims.take(folder, "msta seed 0")
    assert claim is not None
    claim.end("failed")


def test_a_copied_folder_counts_once_and_is_named(tmp_path: Path) -> None:
    import shutil

    folder = finish(tmp_path / "runs", make_trial("lora", 0))
    shutil.copytree(folder, folder.with_name("ef" * 32))
    out, err = petl_bench("report", "--runs", str(tmp_path / "runs"), "--table", "base2novel", "--format", "json")
    assert "a copied or renamed folder is not read" in err
    cells = [cell for group in json.loads(out)["groups"] for row in group["rows"] for cell in row["cells"]]
    assert {tuple(cell["trials"]) for cell in cells if cell["trials"]} == {(folder.name,)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text()
            | st.sampled_from(
                [
                    "pid",
                    "started_at",
                    "ended_at",
                    "title",
                    "outcome",
                    "command",
                    "trials",
                    "tasks",
                    "job",
                    "launcher",
                    "machine",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_file_makes_a_reader_raise(planned: Path, content: bytes) -> None:
    write_all(planned, content)
    found = survey(planned)
    assert found.trials[0].key == "ab" * 32
    for plan in read_plans(planned):
        assert isinstance(plan.command, str)
    read_submissions(planned)
    assert all(request.what == "cancel" for request in requests.standing(planned).values())
    assert claims.newest(trial_folder(planned, "ab" * 32)) is not None
