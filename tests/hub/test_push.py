"""`petl-bench push`: what is in the folder, what is not, and what the server makes of it."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest
import yaml

from petl_bench.records.layout import ADAPTER, RECORD
from petl_bench.sharing.model_card import CardSource, model_card
from petl_bench.system.stored_json import LARGE, read_json
from petl_bench.training.checkpoint import load_adapter
from tests.commands import petl_bench
from tests.hub.conftest import at_address
from tests.hub.server import TOKEN, FakeHub
from tests.searching.made_trials import Trained

HTML = b"<!doctype html><title>Please log in</title>"


@pytest.fixture
def folder(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a push of a trial would push, written without a server."""
    at_address("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    done = push(trained, "--dry-run", "--output", tmp_path / "out", "--licence", "Apache-2.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"to {tmp_path / 'out'}; nothing was pushed" in done.stdout
    return tmp_path / "out"


def push(trained: Trained, *more: str | Path, method: str = "lora", setting: str = "few_shot", to: str = "hf:me/it"):
    return petl_bench("push", trained.keys[setting, method], to, "--runs", trained.runs, *more)


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_folder_is_the_adapter_and_a_card(folder: Path, trained: Trained) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", ADAPTER]
    assert (folder / ADAPTER).read_bytes() == (trained.folder("few_shot", "lora") / ADAPTER).read_bytes()
    card, record = (folder / "README.md").read_text(), read_json(trained.folder("few_shot", "lora") / RECORD, LARGE)
    values = front_matter(card)
    assert (values["library_name"], values["license"]) == ("petl-bench", "apache-2.0")
    (result,) = values["model-index"][0]["results"]
    assert {each["name"]: each["value"] for each in result["metrics"]} == record["metrics"]
    assert result["dataset"] == {"type": "motion", "name": "Motion", "split": "1"}
    for text in ("# LoRA on ViCLIP-Tiny, Motion", "One seed tells no methods apart", "learning rate not tuned",
                 "95 % intervals", 'pb.load_adapter("hf:me/it")', "petl-bench predict --adapter hf:me/it", "64 of 64",
                 "@inproceedings{hu2022lora", record["trial"]["weights_sha256"], "a video of", "num\\_frames=8",
                 "this adapter: Apache-2.0", "the data set: MIT"):  # fmt: skip
        assert text in card, text


def test_retrieval_has_its_own_numbers(trained: Trained, tmp_path: Path) -> None:
    assert push(trained, "--dry-run", "--output", tmp_path / "out", setting="retrieval").returncode == 0
    card = (tmp_path / "out" / "README.md").read_text()
    values = front_matter(card)
    assert "pipeline_tag" not in values and "license" not in values
    assert "t2v_r1" in [each["name"] for each in values["model-index"][0]["results"][0]["metrics"]]
    assert "this adapter: not stated" in card


def test_no_byte_tells_of_this_machine_or_of_clips(folder: Path, trained: Trained, tmp_path: Path) -> None:
    clips = [file.stem for file in trained.clips.rglob("*.mp4")]
    places = [tmp_path, trained.runs, trained.cache, trained.cache.parent, Path.cwd(), Path(__file__).parents[2]]
    assert len(clips) > 100
    for file in folder.rglob("*"):
        content = file.read_bytes()
        assert not [text for text in (*map(str, places), TOKEN, os.uname().release) if text.encode() in content], file
        assert str(Path.home()).encode() + b"/" not in content
        # Short names occur by chance in the bytes of tensors: they are looked for as words of the texts.
        words = set(re.findall(r"[\w.-]+", _text_of(file, content)))
        assert not words & {socket.gethostname(), getpass.getuser(), *clips}, file


def _text_of(file: Path, content: bytes) -> str:
    """All of a text file; of an adapter file its header."""
    length = int.from_bytes(content[:8], "little") if file.name == ADAPTER else len(content)
    return content[: length + 8].decode(errors="replace")


def test_texts_of_a_record_cannot_break_the_card(trained: Trained) -> None:
    place = trained.folder("few_shot", "lora")
    record, (header, _) = read_json(place / RECORD, LARGE), load_adapter(place / ADAPTER)
    hostile = '"}]\n---\n# <script>alert(1)</script> [x](http://evil) | `rm` \u202e\ufffe\x1b[2J'
    record["trial"] |= {"dataset": hostile, "dataset_plugin": "folder", "split": hostile, "weights": hostile}
    record["environment"]["device"] = hostile
    header["use"]["evaluations"] = {"test": [hostile, "```"]}
    card = model_card(CardSource(record, header, trained.runs, "me/it"))
    values = front_matter(card)
    assert values["model-index"][0]["results"][0]["dataset"]["name"].startswith('"}] --- #')
    body = card.split("---\n", 2)[2]
    assert not re.search(r"(?<!\\)[<\[]", body.partition("## Use")[0]) and "\x1b" not in card
    assert body.count("\n```") == 6


def test_a_licence_that_the_hub_does_not_know_is_named(trained: Trained, tmp_path: Path) -> None:
    assert push(trained, "--dry-run", "--output", tmp_path / "out", "--licence", "EUPL-1.2").returncode == 0
    values = front_matter((tmp_path / "out" / "README.md").read_text())
    assert (values["license"], values["license_name"]) == ("other", "EUPL-1.2")
    refused = push(trained, "--dry-run", "--licence", "my own\nmit")
    assert refused.returncode == 2 and "expected an SPDX identifier" in refused.stderr


# ---------------------------------------------------------------- the server


def test_a_push_is_one_commit_and_the_second_one_changes_nothing(trained: Trained, hub: FakeHub) -> None:
    done = push(trained)
    assert done.returncode == 0, done.stderr
    repository = hub.models["me/it"]
    commit, files = repository.at("main")
    assert done.stdout == f"pushed to {hub.url}/me/it, commit {commit}\n"
    assert sorted(files) == [".gitattributes", "README.md", ADAPTER] and not repository.private
    assert files[ADAPTER] == (trained.folder("few_shot", "lora") / ADAPTER).read_bytes()
    again = push(trained)
    assert again.stdout == f"nothing changed: {hub.url}/me/it has these files already, at commit {commit}\n"
    assert len(repository.messages) == 1


def test_files_of_others_stay_and_a_branch_is_made(trained: Trained, hub: FakeHub) -> None:
    push(trained, "--private")
    repository = hub.models["me/it"]
    assert repository.private
    before = repository.commit({"notes.txt": b"mine", "README.md": b"edited"})
    assert push(trained, "--revision", "second").returncode == 0
    assert repository.branches["main"] == before
    files = repository.at("second")[1]
    assert files["notes.txt"] == b"mine" and files["README.md"].startswith(b"---\nlibrary_name")


def test_a_public_repository_is_not_pushed_to_as_private(trained: Trained, hub: FakeHub) -> None:
    push(trained)
    refused = push(trained, "--private", method="linear_probe")
    assert refused.returncode == 2 and "is public" in refused.stderr
    assert len(hub.models["me/it"].messages) == 1


@pytest.mark.parametrize(
    "case", ["no token", "another token", "another user", "web page", "failing", "down", "web page 403"]
)
def test_a_server_that_refuses_is_one_line(
    case: str, trained: Trained, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if case == "no token":
        monkeypatch.delenv("HF_TOKEN")
    if case == "another token":
        monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrongwrong")
    hub.answers = {"web page": (200, HTML), "failing": (503, HTML), "web page 403": (403, HTML)}.get(case)
    if case == "down":
        at_address("http://127.0.0.1:9", tmp_path / "hub_cache", monkeypatch)
    done = push(trained, to="hf:other/it" if case == "another user" else "hf:me/it")
    said = done.stderr.splitlines()[-1]
    expected = {"no token": "(401)", "another token": "(401)", "another user": "(403)", "web page": "web page",
                "failing": "failed (503)", "down": "cannot be reached", "web page 403": "(403)"}[case]  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 2, done.stderr
    assert said.startswith("petl-bench: hf:") and expected in said
    assert TOKEN not in done.stderr and "hf_wrong" not in done.stderr and "Traceback" not in done.stderr
    assert hub.models == {}


# ---------------------------------------------------------------- what is refused


def test_what_is_no_adapter_is_refused(trained: Trained, tmp_path: Path) -> None:
    nothing = push(trained, "--dry-run", method="zero_shot")
    assert nothing.returncode == 2 and "it has no adapter to push" in nothing.stderr
    runs = tmp_path / "runs"
    for setting, method in (("few_shot", "lora"), ("few_shot", "linear_probe")):
        shutil.copytree(trained.folder(setting, method), runs / "trials" / trained.keys[setting, method])
    damaged = runs / "trials" / trained.keys["few_shot", "lora"]
    record = json.loads((damaged / RECORD).read_text())
    record["trial"]["seed"] = 7
    (damaged / RECORD).write_text(json.dumps(record))
    refused = petl_bench("push", damaged.name, "hf:me/it", "--runs", runs, "--dry-run", cwd=tmp_path)
    assert refused.returncode == 2 and "it was changed after it was written" in refused.stderr
    cut = runs / "trials" / trained.keys["few_shot", "linear_probe"] / ADAPTER
    cut.write_bytes(cut.read_bytes()[:-8])
    refused = petl_bench("push", cut.parent.name, "hf:me/it", "--runs", runs, "--dry-run", cwd=tmp_path)
    assert refused.returncode == 2 and ADAPTER in refused.stderr and not (tmp_path / "it").exists()


def test_paths_and_random_weights_are_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petl_bench.errors import UsageError
    from petl_bench.sharing import push_folder

    record = read_json(trained.folder("few_shot", "lora") / RECORD, LARGE)
    monkeypatch.setattr(push_folder, "judge", lambda folder: (record, None))

    def refusal() -> str:
        with pytest.raises(UsageError) as refused:
            key = trained.keys["few_shot", "lora"]
            push_folder.write_adapter_folder(trained.runs, key, tmp_path / "out", "me/it", None)
        assert not (tmp_path / "out").exists()
        return str(refused.value)

    for path in ("/home/someone/base.txt", "~/base.txt", "C:\\base.txt"):
        record["trial"]["dataset_options"] = {"base_classes": path}
        assert refusal().startswith("dataset_options.base_classes is the path of a file")
    record["trial"]["dataset_options"] = {}
    record["trial"]["start_from"] = "ab" * 32
    assert "push the trial that it starts from, abababab" in refusal()
    record["trial"] |= {"start_from": "", "weights_sha256": "random"}
    assert "random weights" in refusal()


@pytest.mark.parametrize(
    "to", ["me/it", "hf:it", "hf:me/it/file", "hf:datasets/me/it", "hf:../it", "hf:me/it@a..b", "hf:me/i t"]
)
def test_what_is_no_repository_is_refused(to: str, trained: Trained) -> None:
    refused = push(trained, "--dry-run", to=to)
    assert refused.returncode == 2 and "expected hf:USER/NAME" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_what_does_not_fit_together_is_refused(folder: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    there = push(trained, "--dry-run", "--output", folder)
    assert there.returncode == 2 and "is there already" in there.stderr
    without = push(trained, "--output", folder)
    assert without.returncode == 2 and "--output is for --dry-run" in without.stderr
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    lacking = push(trained)
    assert lacking.returncode == 2 and "pip install 'petl-bench[hub]'" in lacking.stderr
