"""The user's own folder, ranked by a text: with adapters of both kinds of task, and with a frozen backbone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import petl_bench as pb
from petl_bench.api.registry import BACKBONES
from petl_bench.api.training_options import TrainingOptions
from petl_bench.data.found.tree import walk
from petl_bench.errors import TrialError
from petl_bench.inference.opening import adapted
from petl_bench.inference.subject import frozen_backbone
from petl_bench.inference.videos import videos_in
from petl_bench.searching import index as index_module
from petl_bench.searching.index import Index, load, store, updated_index
from petl_bench.searching.model import SearchModel, refuse_no_search
from petl_bench.searching.search import rankings
from petl_bench.training.checkpoint import load_adapter
from tests.commands import petl_bench
from tests.searching.made_trials import Trained

WEIGHTS = str(BACKBONES.get("viclip-tiny").packaged_weights())


def found(*arguments: str | Path) -> dict[str, Any]:
    """The JSON document of a search."""
    done = petl_bench("search", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def refused(*arguments: str | Path) -> str:
    """The one line that a search ends with; notes on the frozen backbone may stand before it."""
    done = petl_bench("search", *arguments)
    assert done.returncode == 2, done.stderr
    *notes, line = done.stderr.strip().splitlines()
    assert all("viclip-tiny" in note for note in notes)
    return line


def index_of(subject: Any, folder: Path, cache: Path, seen: list[tuple[int, int]] | None = None) -> Any:
    """An index brought up to date, in this process."""
    told = [] if seen is None else seen
    return updated_index(
        SearchModel(subject, "cpu"), walk(folder), cache, workers=0, progress=lambda *counts: told.append(counts)
    )[0]


# ---------------------------------------------------------------- models


def test_a_search_gives_what_the_evaluation_of_the_trial_gave(trained: Trained, videos: Path) -> None:
    place = trained.folder("retrieval", "lora")
    with np.load(place / "predictions-test.npz", allow_pickle=False) as stored:
        clips, texts, expected = stored["clips"].tolist(), stored["texts"].tolist(), stored["similarities"]
    test = videos.parent / "test"
    for clip in clips:
        (source,) = trained.clips.glob(f"{clip}*")
        (test / clip).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, test / source.relative_to(trained.clips))
    model = SearchModel(adapted(place, None), "cpu")
    found, _ = updated_index(model, walk(test), videos.parent / "cache", workers=0, progress=lambda done, total: None)
    rows = [next(row for row, name in enumerate(found.names) if name.startswith(clip)) for clip in clips]
    scale = float(model.model.logit_scale)
    np.testing.assert_allclose(
        scale * model.similarities(texts, found.features).T[rows], expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("setting", "method"), [("few_shot", "lora"), ("few_shot", "zero_shot"), ("few_shot", "cocoop")]
)
def test_trials_of_classification_rank_as_well(trained: Trained, videos: Path, setting: str, method: str) -> None:
    values = found("--adapter", trained.keys[setting, method][:8], "--runs", trained.runs, "--videos", videos,
                   "--query", "a video of growing.", "--top", "4")  # fmt: skip
    assert (values["schema"], values["indexed"], values["unreadable"]) == (1, 6, {})
    (ranking,) = values["rankings"]
    assert [hit["rank"] for hit in ranking["hits"]] == [1, 2, 3, 4]
    similar = [hit["similarity"] for hit in ranking["hits"]]
    assert similar == sorted(similar, reverse=True)
    assert all(-1.001 <= value <= 1.001 for value in similar)
    assert {hit["seconds"] for hit in ranking["hits"]} == {1.0}
    assert method in values["model"]


def test_features_of_frames_and_several_views_are_kept_as_the_evaluation_averages_them(
    videos: Path, tmp_path: Path
) -> None:
    class OfFrames(pb.Method):
        reads = ("frames",)

        def attach(self, model: Any) -> None:
            pass

        def expected_trainable(self, config: Any) -> int:
            return 0

        def scores(self, step: pb.Step) -> Any:
            unit = torch.nn.functional.normalize(step.frame_features.mean(1), dim=-1)
            return step.model.logit_scale * unit @ torch.nn.functional.normalize(step.text_features, dim=-1).T

    plain = frozen_backbone("clip-tiny", None)
    plain = replace(plain, options=TrainingOptions(views=2, crops=3))
    of_frames = OfFrames()
    of_frames.bind(pb.MethodTask("retrieval"))
    queries, results, widths = ["growing", "falling"], [], []
    for subject in (plain, replace(plain, method=of_frames)):
        model = SearchModel(subject, "cpu")
        index = index_of(subject, videos, tmp_path / "cache")
        views = [model.similarities(queries, index.features[:, view : view + 1]) for view in range(6)]
        whole = model.similarities(queries, index.features)
        np.testing.assert_allclose(whole, np.mean(views, axis=0), atol=1e-5)
        results.append(dict(zip(index.names, whole.T.tolist(), strict=True)))
        widths.append(index.features.shape[2])
    assert widths[1] == widths[0] * model.model.config.num_frames
    for name, values in results[0].items():
        np.testing.assert_allclose(results[1][name], values, atol=1e-5)


def test_what_is_too_large_for_an_index_is_refused() -> None:
    class OfTokens(pb.Method):
        name = "of_tokens"
        reads = ("tokens",)

        def attach(self, model: Any) -> None:
            pass

        def expected_trainable(self, config: Any) -> int:
            return 0

    with pytest.raises(pb.UsageError, match="of_tokens compares texts with the tokens of videos, too large"):
        refuse_no_search(OfTokens())
    for name in ("taskres", "tip_adapter", "tip_adapter_f"):
        with pytest.raises(pb.UsageError, match=f"{name} scores classes alone"):
            refuse_no_search(pb.create_method(name))


def test_help_is_light() -> None:
    code = "import sys; from petl_bench.cli import cli; cli(['search', '--help'], standalone_mode=False); "
    code += "sys.exit(bool({'torch', 'pandas', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=100).returncode == 0


def test_a_frozen_backbone_is_zero_shot_and_says_so(trained: Trained, videos: Path) -> None:
    arguments = ("--videos", videos, "--query", "a video of growing.")
    done = petl_bench("search", *arguments)
    assert "no --adapter: the frozen backbone viclip-tiny, zero-shot" in done.stderr
    assert "viclip-tiny was made to demonstrate on motion" in done.stderr
    rows = done.stdout.splitlines()
    assert rows[0] == f"6 videos in {videos}, ranked by frozen viclip-tiny, zero-shot"
    assert rows[2:4] == ["a video of growing.", "rank  similarity   length  file"]
    assert len(rows) == 10
    zero_shot = found(*arguments, "--adapter", trained.folder("few_shot", "zero_shot"))
    assert zero_shot["rankings"] == found(*arguments)["rankings"]


def test_an_adapter_file_beside_its_record_is_its_trial_and_alone_is_told(trained: Trained, videos: Path) -> None:
    folder = trained.folder("retrieval", "lora")
    alone = shutil.copy(folder / "adapter.safetensors", videos.parent / "mine.safetensors")
    searched = ("--videos", videos, "--query", "growing", "--query", "it falls")
    by_trial = found(*searched, "--adapter", folder)
    assert [ranking["query"] for ranking in by_trial["rankings"]] == ["growing", "it falls"]
    assert by_trial == found(*searched, "--adapter", folder / "adapter.safetensors")
    done = petl_bench("search", *searched, "--adapter", alone, "--format", "json")
    assert "as by default" not in done.stderr
    assert json.loads(done.stdout)["rankings"] == by_trial["rankings"]
    header, tensors = load_adapter(alone)
    early = videos.parent / "early.safetensors"
    save_file(tensors, early, {"petl-bench": json.dumps({name: header[name] for name in header if name != "use"})})
    done = petl_bench("search", *searched, "--adapter", early, "--format", "json")
    assert "is not beside it; clips are read as by default" in done.stderr
    assert json.loads(done.stdout)["rankings"] == by_trial["rankings"]
    header["use"]["trial"]["seed"] = 7
    save_file(tensors, early, {"petl-bench": json.dumps(header)})
    assert "its header was changed" in refused(*searched, "--adapter", early)


def test_methods_that_score_no_free_texts_are_refused(trained: Trained, videos: Path) -> None:
    line = refused("--adapter", trained.folder("few_shot", "linear_probe"), "--videos", videos, "--query", "growing")
    assert "linear_probe scores the classes it was trained on alone, and no free texts" in line


def test_weights_are_those_of_the_trial_or_it_is_said(trained: Trained, videos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file(pb.create_model("viclip-tiny", weights=None).published_state_dict(), other)
    search = ("--videos", videos, "--query", "growing")
    with pytest.raises(pb.PetlBenchError, match="not the weights that trial lora motion"):
        adapted(trained.folder("few_shot", "lora"), str(other))
    assert "random weights rank videos at random" in refused(*search, "--weights", "random")
    header, tensors = load_adapter(trained.folder("few_shot", "lora") / "adapter.safetensors")
    without_use = {name: value for name, value in header.items() if name != "use"}
    lost = tmp_path / "lost.safetensors"
    save_file(tensors, lost, {"petl-bench": json.dumps({**without_use, "weights_sha256": "0" * 64})})
    line = refused(*search, "--adapter", lost)
    assert "the weights that adapter" in line
    assert "sha256 000000000000) are not here. Put the file into" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--query", "  "), "--query: empty; say what to look for"),
        (("--query", "growing", "--format", "html"), "--format html is a file: type --output FILE.html"),
        (("--query", "growing", "--adapter", "x", "--backbone", "y"), "--backbone is for a search without --adapter"),
        (("--query", "growing", "--adapter", "nothing"), "unknown trial 'nothing'"),
        (("--query", "growing", "--adapter", "x" * 5000), "unknown trial"),
        (("--query", "growing", "--adapter", "absent.safetensors"), "neither an adapter file nor the folder"),
        (("--query", "growing", "--adapter", "runs/trials/0123abcd"), "neither an adapter file nor the folder"),
        (("--query", "growing", "--adapter", __file__), "cannot read adapter"),
        (("--query", "growing", "--adapter", WEIGHTS), "not an adapter of petl-bench, for its header lacks method"),
        (("--query", "growing", "--backbone", "viclip-tin"), "did you mean viclip-tiny"),
        (("--query", "growing", "--backbone", "viclip-b16"), "viclip-b16 wants ViCLIP-B_InternVid-FLT-10M.pth"),
    ],
)
def test_wrong_use_is_one_line(trained: Trained, videos: Path, arguments: tuple[str, ...], says: str) -> None:
    assert says in refused("--videos", videos, "--runs", trained.runs, *arguments)


def test_a_file_that_cannot_be_written_is_told_before_anything_is_indexed(videos: Path, tmp_path: Path) -> None:
    search = ("--videos", videos, "--query", "growing", "--output")
    assert refused(*search, videos).endswith("a folder; name a file in it")
    assert f"there is no folder {tmp_path / 'none'}; make it" in refused(*search, tmp_path / "none" / "found.txt")
    assert not (tmp_path / "cache" / "search").exists()


def test_folders_that_hold_nothing_are_one_line(videos: Path, tmp_path: Path) -> None:
    assert f"--videos {tmp_path / 'none'}: no such folder" in refused("--videos", tmp_path / "none", "--query", "a")
    (tmp_path / "empty").mkdir()
    assert "no video in it" in refused("--videos", tmp_path / "empty", "--query", "a")
    (tmp_path / "empty" / "page.mp4").write_text("<html>not found</html>")
    line = refused("--videos", tmp_path / "empty", "--query", "a")
    assert "none of its 1 videos can be read. page.mp4: the file is a web page" in line


def test_a_long_query_is_cut_with_a_note(videos: Path) -> None:
    query = "a red square that is growing " * 20
    done = petl_bench("search", "--videos", videos, "--query", query, "--format", "json")
    ranking = json.loads(done.stdout)["rankings"][0]
    assert ranking["query"] == query.strip()
    assert ranking["query"].startswith(ranking["read"])
    assert len(ranking["read"]) < len(ranking["query"])
    assert "is longer than the model's text context; what is read:" in done.stderr


# ---------------------------------------------------------------- the index


def test_only_changed_files_are_encoded_again_and_those_gone_are_forgotten(videos: Path, tmp_path: Path) -> None:
    subject, cache = frozen_backbone("viclip-tiny", None), tmp_path / "cache"
    counts: list[tuple[int, int]] = []
    first = index_of(subject, videos, cache, counts)
    assert counts == [(0, 6), (6, 6)]
    one, two, *others = first.names
    assert index_of(subject, videos, cache, counts).names == first.names
    shutil.copy(videos / others[0], videos / one)
    (videos / two).unlink()
    (videos / others[1]).touch()
    second = index_of(subject, videos, cache, counts)
    assert counts[2:] == [(0, 1), (1, 1)]
    assert sorted(second.names) == sorted([one, *others])
    row = {name: number for number, name in enumerate(second.names)}
    np.testing.assert_allclose(second.features[row[one]], second.features[row[others[0]]], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(second.features[row[others[2]]], first.features[first.names.index(others[2])])
    (file,) = (cache / "search").glob("*.npz")
    assert load(file).names == second.names
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_was_indexed_before_an_interruption_stays(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, cache = frozen_backbone("viclip-tiny", None), tmp_path / "cache"
    monkeypatch.setattr(SearchModel, "encoded", _interrupted(SearchModel.encoded))
    with pytest.raises(KeyboardInterrupt):
        index_of(subject, videos, cache)
    monkeypatch.undo()
    counts: list[tuple[int, int]] = []
    assert len(index_of(subject, videos, cache, counts).names) == 6
    assert counts[-1] == (2, 2)


def _interrupted(encoded: Any) -> Any:
    """Ctrl-C after the first four videos."""

    def interrupted(self: SearchModel, paths: dict[str, Path], workers: int) -> Any:
        yield from encoded(self, dict(sorted(paths.items())[:4]), workers)
        raise KeyboardInterrupt

    return interrupted


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "pickle"])
def test_a_damaged_index_is_made_again_with_a_note(
    videos: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    subject, cache = frozen_backbone("viclip-tiny", None), tmp_path / "cache"
    before = index_of(subject, videos, cache)
    (file,) = (cache / "search").glob("*.npz")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:-100]
    elif damage == "flipped":
        content[500] ^= 1
    elif damage == "other":
        content = bytearray(b"not an index")
    if damage == "pickle":
        np.savez(file, features=np.array([object()], dtype=object), text=np.zeros(1, np.uint8))
    else:
        file.write_bytes(content)
    after = index_of(subject, videos, cache)
    np.testing.assert_array_equal(before.features, after.features)
    assert "cannot be used" in caplog.text
    assert "all videos are encoded again" in caplog.text


def _with_columns(**changed: Any) -> Callable[[np.ndarray, dict[str, Any]], Any]:
    return lambda features, columns: (features, columns | changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda features, columns: (features, {name: columns[name] for name in columns if name != "seconds"}),
        lambda features, columns: (np.full_like(features, np.nan), columns),
        lambda features, columns: (features[..., :-1], columns),
        lambda features, columns: (features.repeat(2, axis=1), columns),
        _with_columns(names=["a"] * 6),
        _with_columns(names=[["a"]] * 6),
        _with_columns(stamps=[1] * 6),
        _with_columns(seconds=[float("inf")] * 6),
        _with_columns(unreadable={"a": ["b"]}),
    ],
)
def test_an_index_whose_parts_are_others_is_made_again(
    videos: Path, tmp_path: Path, change: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    subject, cache = frozen_backbone("viclip-tiny", None), tmp_path / "cache"
    before = index_of(subject, videos, cache)
    (file,) = (cache / "search").glob("*.npz")
    with np.load(file) as stored:
        features, columns = change(stored["features"], json.loads(bytes(stored["text"])))
    np.savez(file, features=features, text=np.frombuffer(json.dumps(columns).encode(), np.uint8))
    np.testing.assert_array_equal(index_of(subject, videos, cache).features, before.features)
    assert "all videos are encoded again" in caplog.text


def test_an_index_of_flipped_bits_is_never_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "index.npz"
    store(file, Index(["a", "b"], ["", ""], ["", ""], [1.0, None], np.ones((2, 1, 4), np.float32)))
    content = file.read_bytes()
    for bit in range(0, 8 * len(content), 5):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        assert len(load(file).names) in (0, 2)


def test_similarities_that_are_no_numbers_rank_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SearchModel(frozen_backbone("viclip-tiny", None), "cpu")
    monkeypatch.setattr(model, "similarities", lambda queries, features: np.full((1, 1), np.nan))
    with pytest.raises(TrialError, match="similarities that are no numbers"):
        rankings(model, Index(["a"], [""], [""], [2.0], np.ones((1, 1, 1), np.float32)), ["growing"], 3)


def test_an_index_that_others_can_write_to_is_not_read(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    subject, cache = frozen_backbone("viclip-tiny", None), tmp_path / "cache"
    index_of(subject, videos, cache)
    (file,) = (cache / "search").glob("*.npz")
    file.chmod(0o666)
    counts: list[tuple[int, int]] = []
    index_of(subject, videos, cache, counts)
    assert counts[-1] == (6, 6)
    assert "others can write to it" in caplog.text


def test_a_cache_that_cannot_be_written_costs_time_alone(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_module, "make_private", full)
    assert len(index_of(frozen_backbone("viclip-tiny", None), videos, tmp_path / "cache").names) == 6
    assert "No space left on device" in caplog.text


def test_two_searches_at_once_leave_a_whole_index(videos: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "petl_bench", "search", "--videos", str(videos), "--query", "growing"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1]
    (file,) = (tmp_path / "cache" / "search").iterdir()
    assert len(load(file).names) == 6


def test_every_model_and_folder_has_an_index_of_its_own(trained: Trained, videos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    index_of(frozen_backbone("viclip-tiny", None), videos, cache)
    index_of(frozen_backbone("viclip-tiny", None), videos / "growing", cache)
    for setting in ("few_shot", "retrieval"):
        index_of(adapted(trained.folder(setting, "lora"), None), videos, cache)
    assert len(list((cache / "search").iterdir())) == 4


def test_equal_videos_come_by_name_whatever_the_order_of_indexing() -> None:
    model = SearchModel(frozen_backbone("viclip-tiny", None), "cpu")
    features = np.ones((4, 1, model.model.config.embed_dim), np.float32)
    index = Index(["d", "b", "c", "a"], [""] * 4, [""] * 4, [2.0] * 4, features)
    (ranking,) = rankings(model, index, ["growing"], 3)
    assert [(hit.rank, hit.file, hit.seconds) for hit in ranking.hits] == [(1, "a", 2.0), (2, "b", 2.0), (3, "c", 2.0)]


def test_links_and_unreadable_files(videos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(next(videos.rglob("*.mp4")), elsewhere / "linked.mp4")
    (videos / "there").symlink_to(elsewhere)
    (videos / "loop").symlink_to(videos)
    (videos / "broken.mp4").write_bytes(b"nothing")
    (videos / "forbidden <b>.mp4").write_bytes(b"")
    (videos / "dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    (videos / "dangling.txt").symlink_to(tmp_path / "gone.txt")
    os.mkfifo(videos / "pipe.mp4")
    done = petl_bench("search", "--videos", videos, "--query", "growing", "--format", "json")
    values = json.loads(done.stdout)
    assert values["indexed"] == 7
    assert "there/linked.mp4" in {hit["file"] for hit in values["rankings"][0]["hits"]}
    unreadable = values["unreadable"]
    assert set(unreadable) == {"broken.mp4", "forbidden <b>.mp4", "dangling.mp4", "pipe.mp4"}
    assert (unreadable["dangling.mp4"], unreadable["pipe.mp4"]) == ("a link to nothing", "no regular file")
    assert "left out, cannot be read: forbidden <b>.mp4: the file is empty (0 bytes)" in done.stderr
    assert "links that lead out of the folder, and are followed: 1; the first: there" in done.stderr


def test_real_videos_with_every_oddity(real_data: Path, videos: Path, tmp_path: Path) -> None:
    index, unreadable = updated_index(
        SearchModel(frozen_backbone("viclip-tiny", None), "cpu"),
        videos_in(real_data / "odd_videos"),
        tmp_path / "cache",
        workers=2,
        progress=lambda done, total: None,
    )
    assert len(index.names) + len(unreadable) == len(list((real_data / "odd_videos").iterdir()))
    assert {"zero_bytes.mp4", "html_error_page.mp4", "audio_only.mp4"} <= set(unreadable)
    assert {"video_90.mov", "name with spaces and ünïcode, comma.mp4", "abseiling_1frames.mp4"} <= set(index.names)
    assert not any(str(real_data) in reason for reason in unreadable.values())
    assert all(length is None or length > 0 for length in index.seconds)


# ---------------------------------------------------------------- the page


def test_the_page_has_pictures_and_nothing_from_elsewhere(videos: Path, tmp_path: Path) -> None:
    (videos / "growing" / "<script>alert(1)<").mkdir()
    shutil.copy(next(videos.rglob("*.mp4")), videos / "growing" / "<script>alert(1)<" / "x.mp4")
    page = tmp_path / "found.html"
    query = "<img src=http://example.org/x.png>"
    done = petl_bench("search", "--videos", videos, "--query", query, "--format", "html", "--output", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 7 * 3
    assert "<script" not in text
    assert "&lt;img src=http://example.org/x.png&gt;" in text
    assert 'src="http' not in text
    assert "default-src 'none'" in text
