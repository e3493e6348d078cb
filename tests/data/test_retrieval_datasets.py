"""The published data sets of retrieval: small files in each format, and the real lists with their counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.registry import DATASETS
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.manifest import Manifest, build_manifest
from petl_bench.errors import DataError, UsageError
from petl_bench.testing.checks import Given, Skipped
from petl_bench.testing.datasets import CHECKS, DatasetSubject

NAMES = ("msrvtt", "msvd", "lsmdc", "didemo", "activitynet_captions")


def dataset(name: str, **fields: Any) -> Dataset:
    created: Dataset = DATASETS.get(name)(**fields)
    return created


def read(name: str, root: Path, **fields: Any) -> Annotations:
    plugin = dataset(name, **fields)
    return plugin.annotations(plugin.root(root))


def write(root: Path, files: Mapping[str, Any]) -> None:
    """Texts as they are, anything else as JSON."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())


def clips(samples: tuple[Sample, ...]) -> list[str]:
    assert {sample.label for sample in samples} == {0}
    return [sample.clip for sample in samples]


def lsmdc_row(clip: str, text: str) -> str:
    return "\t".join([clip, "00:00:51.926", "00:00:54.129", "00:00:51.926", "00:00:54.129", text])


def didemo_rows(*rows: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"video": video, "description": text, "annotation_id": at} for at, (video, text) in enumerate(rows)]


MOVIE = "0001_American_Beauty_00.00.51.926-00.00.54.129"
MSRVTT = {
    "msrvtt/MSRVTT_data.json": {
        "videos": [
            {"video_id": f"video{number}", "split": split, "url": url}
            for number, split, url in (
                (0, "train", "u"),
                (1, "train", "u"),
                (2, "validate", ""),
                (3, "test", "u"),
                (4, "test", ""),
            )
        ],
        "sentences": [
            {"video_id": f"video{number}", "caption": f"{text} of {number}"}
            for text in ("one", "two")
            for number in range(5)
        ],
    },
    "msrvtt/MSRVTT_train.9k.csv": "video_id\r\nvideo1\r\nvideo0\r\n",
    "msrvtt/MSRVTT_train.7k.csv": "video_id\nvideo0\n",
    "msrvtt/MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\nr0,msr3,video3,a man\nr1,msr4,video4,a man\n",
}
MSVD = {
    "msvd/captions_msvd.json": {
        "-4wsuPCjDBc_5_15": ["a squirrel", "a chipmunk"],
        "-4wsuPCjDBc_20_25": ["a nut"],
        "fEsrO_poIUg_161_168": ["rain"],
        "FEsrO_poIUg_161_168": ["snow"],
    },
    "msvd/train_list.txt": "-4wsuPCjDBc_5_15\n-4wsuPCjDBc_20_25",
    "msvd/val_list.txt": "fEsrO_poIUg_161_168",
    "msvd/test_list.txt": "FEsrO_poIUg_161_168\n",
}
LSMDC = {
    "lsmdc/LSMDC16_annos_training.csv": lsmdc_row(MOVIE, '"Hi, he says.') + "\n" + lsmdc_row(MOVIE, "Again.") + "\n",
    "lsmdc/LSMDC16_annos_val.csv": lsmdc_row("0002_Juno_00.00.01.000-00.00.02.000", "Snow.") + "\n",
    "lsmdc/LSMDC16_challenge_1000_publictect.csv": lsmdc_row("0003_Up_00.00.01.000-00.00.02.000", "A house.") + "\n",
}
DIDEMO = {
    "didemo/train_data.json": didemo_rows(("1@N00_2_3.avi", "rain"), ("1@N00_4_5.mov", "snow")),
    "didemo/val_data.json": didemo_rows(("2@N00_4_5.wmv", "wind")),
    "didemo/test_data.json": didemo_rows(
        ("3@N00_1_1.mov", " a dog runs.\n"),
        ("3@N00_2_2.", "cat"),
        ("3@N00_1_1.mov", "it stops"),
        ("3@N00_1_1.mp4", "x"),
    ),
}
ANET = {
    "activitynet_captions/train.json": {
        "v_-aaaaaaaaaa": {"duration": 10, "timestamps": [[0, 12], [5, 4]], "sentences": ["Rain. ", " Snow\nfalls."]}
    },
    "activitynet_captions/val_1.json": {
        f"v_{video}": {"duration": 55.15, "timestamps": [[0, 1]], "sentences": [f" {video} "]}
        for video in ("bbbbbbbbbbb", "Bbbbbbbbbbb")
    },
    "activitynet_captions/val_2.json": {"v_bbbbbbbbbbb": {"duration": 3, "timestamps": [], "sentences": ["other"]}},
}
FILES = dict(zip(NAMES, (MSRVTT, MSVD, LSMDC, DIDEMO, ANET), strict=True))


def with_videos(root: Path, name: str, *videos: str) -> Manifest:
    write(root, {**FILES[name], **{f"{name}/{video}": video for video in videos}})
    return build_manifest(dataset(name), root / name, root / "cache")


# ---------------------------------------------------------------- formats


def test_msrvtt_protocols(tmp_path: Path) -> None:
    write(tmp_path, MSRVTT)
    nine, seven, full = (read("msrvtt", tmp_path, protocol=name) for name in ("1k-A-9k", "1k-A-7k", "full"))
    assert clips(nine.train[1]) == ["video1", "video0"] and clips(seven.train[1]) == ["video0"]
    assert nine.captions["video0"] == ("one of 0", "two of 0")
    assert nine.captions["video3"] == ("a man",)  # of the test list, and not those of MSRVTT_data.json
    assert full.captions["video3"] == ("one of 3", "two of 3")
    assert (clips(full.train[1]), clips(full.test[1])) == (["video0", "video1"], ["video3", "video4"])
    assert not set(full.captions) & {"video2"} and "1 video with 2 captions, is neither trained" in full.notes[-1]
    assert [defect.id for defect in nine.defects] == ["duplicate-sentences"] and not full.defects
    assert nine.groups == {"video0": "u", "video1": "u", "video3": "u"}
    assert nine.classes == () and not nine.spans
    assert "msrvtt/MSRVTT_train.9k.csv" not in nine.files and "MSRVTT_train.9k.csv" in nine.files


def test_msrvtt_says_what_is_not_as_published(tmp_path: Path) -> None:
    write(tmp_path, MSRVTT)
    assert (
        "2 training videos of 2 with fewer captions than the 20 of the published file (2 captions at least)"
        in read("msrvtt", tmp_path).notes
    )
    (tmp_path / "msrvtt" / "MSRVTT_train.9k.csv").unlink()
    with pytest.raises(DataError, match=r"train.9k.csv was not found.*7k.csv is there: --set msrvtt.protocol=1k-A-7k"):
        read("msrvtt", tmp_path)


def test_msvd_lists(tmp_path: Path) -> None:
    write(tmp_path, MSVD)
    found = read("msvd", tmp_path)
    assert clips(found.train[1]) == ["-4wsuPCjDBc_5_15", "-4wsuPCjDBc_20_25"]
    assert found.captions["-4wsuPCjDBc_5_15"] == ("a squirrel", "a chipmunk")
    assert clips(found.test[1]) == ["FEsrO_poIUg_161_168"] and "fEsrO_poIUg_161_168" not in found.captions
    assert any("val_list.txt: the official validation part, 1 video " in note for note in found.notes)
    assert {dataset("msvd").group_of(clip) for clip in clips(found.train[1])} == {"-4wsuPCjDBc"}


def test_msvd_captions_as_a_pickle_are_refused_with_what_to_type(tmp_path: Path) -> None:
    write(tmp_path, MSVD)
    (tmp_path / "msvd/captions_msvd.json").rename(tmp_path / "msvd/raw-captions.pkl")
    with pytest.raises(DataError, match=r"raw-captions\.pkl: a pickle, .*make captions_msvd\.json of it"):
        read("msvd", tmp_path)


def test_lsmdc_rows(tmp_path: Path) -> None:
    write(tmp_path, LSMDC)
    found = read("lsmdc", tmp_path)
    assert found.captions[MOVIE] == ('"Hi, he says.', "Again.")
    assert clips(found.test[1]) == ["0003_Up_00.00.01.000-00.00.02.000"]
    assert dataset("lsmdc").group_of(f"x/{MOVIE}.avi") == "0001_American_Beauty"
    assert not any("Juno" in clip for clip in found.captions)


def test_didemo_paragraphs_and_limits(tmp_path: Path) -> None:
    write(tmp_path, DIDEMO)
    found, each = read("didemo", tmp_path), read("didemo", tmp_path, captions="each", limits=False)
    assert clips(found.test[1]) == ["3@N00_1_1.mov", "3@N00_2_2.", "3@N00_1_1.mp4"]
    assert found.captions["3@N00_1_1.mov"] == ("a dog runs. it stops",)
    assert each.captions["3@N00_1_1.mov"] == ("a dog runs.", "it stops")
    assert set(found.spans) == set(found.captions) and set(found.spans.values()) == {(0.0, 31.0)}
    assert not each.spans and any("from the whole file" in note for note in each.notes)
    assert [defect.id for defect in found.defects] == ["two-names"]


def test_didemo_lists_keep_what_they_name(tmp_path: Path) -> None:
    write(tmp_path, {**DIDEMO, "didemo/test_list.txt": "3@N00_2_2.\n3@N00_1_1.mov\n"})
    found = read("didemo", tmp_path)
    assert clips(found.test[1]) == ["3@N00_2_2.", "3@N00_1_1.mov"] and not found.defects
    assert "test_list.txt" in found.files


def test_didemo_as_tmass_has_it(tmp_path: Path) -> None:
    rows = (
        "success,video_path,starts,ends,text,formatted_data\n"
        'True,/home/x/3@N00_1_1.mov,tensor([[0]]),tensor([[31]]),"a dog, ""Rex"",\nruns",/home/y.pth\n'
        "True,/home/x/3@N00_2_2.,tensor([0]),tensor([30.5]),cat,/home/z.pth\n"
    )
    write(tmp_path, {"didemo/didemo_test_label.csv": rows})
    found = read("didemo", tmp_path)
    assert found.captions == {"3@N00_1_1.mov": ('a dog, "Rex",\nruns',), "3@N00_2_2.": ("cat",)}
    assert found.spans == {"3@N00_1_1.mov": (0.0, 31.0), "3@N00_2_2.": (0.0, 30.5)}
    assert found.train == {} and any("no training list" in note for note in found.notes)
    with pytest.raises(UsageError, match="joined already"):
        read("didemo", tmp_path, captions="each")
    with pytest.raises(DataError, match=r"test_data\.json was not found .*didemo\.lists=tmass"):
        read("didemo", tmp_path, lists="official")


def test_activitynet_paragraphs_and_limits(tmp_path: Path) -> None:
    write(tmp_path, ANET)
    found, whole = read("activitynet_captions", tmp_path), read("activitynet_captions", tmp_path, limits=False)
    assert found.captions["-aaaaaaaaaa"] == ("Rain. Snow\nfalls.",)
    assert clips(found.test[1]) == ["bbbbbbbbbbb", "Bbbbbbbbbbb"] and "tested: val_1" in found.notes
    assert found.spans == {"-aaaaaaaaaa": (0.0, 10.0), "bbbbbbbbbbb": (0.0, 56.0), "Bbbbbbbbbbb": (0.0, 56.0)}
    assert not whole.spans and whole.captions == found.captions
    second = read("activitynet_captions", tmp_path, test="val_2", captions="each")
    assert second.captions["bbbbbbbbbbb"] == ("other",) and second.captions["-aaaaaaaaaa"] == ("Rain.", "Snow\nfalls.")
    assert any("not val_1 as in published numbers" in note for note in second.notes)


def test_activitynet_ids_keep_what_they_name(tmp_path: Path) -> None:
    write(tmp_path, {**ANET, "activitynet_captions/val_ids.json": ["v_Bbbbbbbbbbb"]})
    assert clips(read("activitynet_captions", tmp_path).test[1]) == ["Bbbbbbbbbbb"]
    assert clips(read("activitynet_captions", tmp_path, test="val_2").test[1]) == ["bbbbbbbbbbb"]


# ---------------------------------------------------------------- videos on disk


@pytest.mark.parametrize(
    ("name", "file", "clip"),
    [
        ("msrvtt", "TestVideo/video3.webm", "video3"),
        ("msvd", "YouTubeClips/-4wsuPCjDBc_5_15.mp4", "-4wsuPCjDBc_5_15"),
        ("lsmdc", f"0001_American_Beauty/{MOVIE}.avi", MOVIE),
        ("didemo", "videos/1@N00_2_3.mp4", "1@N00_2_3.avi"),
        ("didemo", "3@N00_2_2.mp4", "3@N00_2_2."),
        ("didemo", "3@N00_2_2..mp4", "3@N00_2_2."),
        ("activitynet_captions", "v_-aaaaaaaaaa.mkv", "-aaaaaaaaaa"),
        ("activitynet_captions", "-aaaaaaaaaa.mkv", "-aaaaaaaaaa"),
    ],
)
def test_videos_are_found_whatever_their_extension_and_folder(tmp_path: Path, name: str, file: str, clip: str) -> None:
    manifest = with_videos(tmp_path, name, file)
    assert {clip: found.file for clip, found in manifest.found.items()} == {clip: file}
    assert manifest.expected == len(manifest.missing) + 1 and not manifest.ambiguous


@pytest.mark.parametrize(
    ("name", "file"),
    [("msvd", "-4WSUPCJDBC_5_15.avi"), ("activitynet_captions", "v_-AAAAAAAAAA.mp4"), ("lsmdc", "0001_American.avi")],
)
def test_other_videos_are_not(tmp_path: Path, name: str, file: str) -> None:
    assert not with_videos(tmp_path, name, file).found


def test_two_names_of_one_didemo_video_are_not_one_file(tmp_path: Path) -> None:
    """The file of the one is not that of the other: it is missing, and counted."""
    manifest = with_videos(tmp_path, "didemo", "3@N00_1_1.mp4")
    assert list(manifest.found) == ["3@N00_1_1.mp4"] and "3@N00_1_1.mov" in manifest.missing


def test_spans_enter_the_hash(tmp_path: Path) -> None:
    write(tmp_path, {**DIDEMO, "didemo/a.mp4": "a"})
    hashes = {
        build_manifest(dataset("didemo", limits=limits), tmp_path / "didemo", tmp_path / "cache").sha256
        for limits in (True, False)
    }
    assert len(hashes) == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_checks_of_a_data_set_take_it(tmp_path: Path, name: str) -> None:
    write(tmp_path, FILES[name])
    found = read(name, tmp_path)
    write(tmp_path, {f"{name}/videos/{clip_stem(clip)}.mp4": clip for clip in found.captions})
    subject = DatasetSubject(name, DATASETS.get(name), Given(data_root=tmp_path))
    skipped = set()
    for check in CHECKS:
        try:
            check(subject)
        except Skipped:
            skipped.add(check.__name__)
    assert "classes_are_names" in skipped
    assert skipped <= {"classes_are_names", "spans_are_parts_of_clips"}


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        ("msrvtt", {"MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo9\n"}, "9k.csv, line 3: 'video9' has no caption in"),
        ("msrvtt", {"MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo0\n"}, "line 3: the clip 'video0' stands on line 2"),
        ("msrvtt", {"MSRVTT_train.9k.csv": "id\nvideo0\n"}, "line 1: expected a first row with the columns video_id"),
        ("msrvtt", {"MSRVTT_train.9k.csv": "video_id\nvideo3\n"}, "a clip that trains cannot be tested"),
        ("msrvtt", {"MSRVTT_data.json": {"sentences": []}}, "expected the keys videos and sentences"),
        (
            "msrvtt",
            {
                "MSRVTT_data.json": {
                    "videos": [{"video_id": "video0", "split": "train"}],
                    "sentences": [{"video_id": "video7", "caption": "x"}],
                }
            },
            "sentences, entry 1: a caption of 'video7', which is none of its videos",
        ),
        (
            "msrvtt",
            {"MSRVTT_data.json": {"videos": [{"video_id": "video0", "split": "train"}] * 2, "sentences": []}},
            "videos, entry 2: the video 'video0' stands there twice",
        ),
        (
            "msrvtt",
            {"MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\na,b,video3,x\na,b,video3,y\n"},
            "line 3: 'video3' stands in an earlier row too",
        ),
        ("msvd", {"test_list.txt": "gone_1_2\n"}, "test_list.txt, line 1: 'gone_1_2' has no caption in"),
        ("msvd", {"test_list.txt": "../x\n"}, "line 1: '../x' leaves the data root"),
        ("lsmdc", {"LSMDC16_annos_training.csv": "a\tb\n"}, "line 1: expected 6 fields with tabs between"),
        ("lsmdc", {"LSMDC16_annos_training.csv": lsmdc_row("a", " ") + "\n"}, "line 1: the caption of 'a' is empty"),
        (
            "lsmdc",
            {"LSMDC16_challenge_1000_publictect.csv": f"{lsmdc_row('a_1', 'x')}\n{lsmdc_row('a_1', 'y')}\n"},
            "line 2: 'a_1' stands in an earlier row too",
        ),
        (
            "lsmdc",
            {"LSMDC16_challenge_1000_publictect.csv": "CLIP_ID\tSTART\tEND\tSTART\tEND\tSENTENCE\n"},
            "line 1: no numbers in CLIP_ID, START and END; remove a row that names the columns",
        ),
        ("didemo", {"test_list.txt": "gone.mov\n"}, "test_list.txt, line 1: 'gone.mov' has no caption in"),
        ("didemo", {"train_data.json": didemo_rows(("3@N00_1_1.avi", "x"))}, "a clip that trains cannot be tested"),
        ("activitynet_captions", {"train.json": {"v_a": {"duration": 0, "sentences": ["x"]}}}, "the duration 0 is no"),
        *(
            (
                "activitynet_captions",
                {"train.json": {"v_a": {"duration": wrong, "sentences": ["x"]}}},
                "is no number of",
            )
            for wrong in (True, 1e308, 10**400)
        ),
        (
            "activitynet_captions",
            {"train.json": {"v_a": {"duration": 1, "sentences": ["x", "\ud800"]}}},
            "key 'v_a': the caption of 'a' holds half a character",
        ),
        (
            "activitynet_captions",
            {"train.json": {"v_a": {"duration": 1, "sentences": [" "]}}},
            "key 'v_a': the caption",
        ),
        ("activitynet_captions", {"train.json": {"v_a": {"duration": 1}}}, "key 'v_a': expected duration, timestamps"),
        ("activitynet_captions", {"train.json": {"v_a": {"duration": 1, "sentences": []}}}, "has no caption"),
        (
            "activitynet_captions",
            {"train.json": {key: {"duration": 1, "sentences": ["x"]} for key in ("v_a", "a")}},
            "key 'a': the video 'a' stands there twice, with v_ and without",
        ),
        ("activitynet_captions", {"val_ids.json": ["v_x"]}, "val_ids.json, line 1: 'x' has no caption in"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str, changed: dict[str, Any], says: str) -> None:
    write(tmp_path, {**FILES[name], **{f"{name}/{file}": content for file, content in changed.items()}})
    with pytest.raises(DataError) as error:
        read(name, tmp_path)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_without_its_files_each_says_which_it_wants(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"was not found below it\. Put the published file there"):
        read(name, tmp_path)


# ---------------------------------------------------------------- real lists


@pytest.fixture
def real(real_data: Path) -> Path:
    return real_data / "annotations/retrieval"


def counts(found: Annotations) -> tuple[int, int, int, int]:
    """Videos and captions of the training list, and of the test list."""
    lists = [found.train.get(1, ()), found.test[1]]
    return tuple(n for each in lists for n in (len(each), sum(len(found.captions[s.clip]) for s in each)))  # type: ignore[return-value]


def test_real_msrvtt(real: Path) -> None:
    """The captions of the training videos are cut to one per video; of the whole file there are 20."""
    nine = read("msrvtt", real)
    assert counts(nine) == (9000, 9000, 1000, 1000)
    assert counts(read("msrvtt", real, protocol="1k-A-7k")) == (7010, 7010, 1000, 1000)
    full = read("msrvtt", real, protocol="full")
    assert counts(full)[::2] == (6513, 2990) and "497 videos" in full.notes[-1]
    sentences = Counter(nine.captions[sample.clip] for sample in nine.test[1])
    assert (len(sentences), sum(count > 1 for count in sentences.values())) == (995, 4)
    assert sum(count for count in sentences.values() if count > 1) == 9
    assert nine.defects == dataset("msrvtt").defects


def test_a_real_msrvtt_clip_is_found(real: Path, real_data: Path, tmp_path: Path) -> None:
    """One of the 1,000 test videos of 1k-A."""
    (tmp_path / "msrvtt").symlink_to(real / "msrvtt")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/video7500.mp4").symlink_to(real_data / "real_clips/video7500.mp4")
    manifest = build_manifest(dataset("msrvtt"), tmp_path, tmp_path / "cache")
    assert list(manifest.found) == ["video7500"] and len(manifest.missing) == 9999
    assert "video7500" in clips(manifest.annotations.test[1])


def test_real_msvd(real: Path) -> None:
    found = read("msvd", real)
    assert counts(found) == (1200, 48_774, 670, 27_763)
    assert any("100 videos with 4,290 captions" in note for note in found.notes)
    assert sum(sample.clip.startswith("-") for sample in found.train[1]) == 46
    assert (min(map(len, found.captions.values())), max(map(len, found.captions.values()))) == (18, 81)


def test_real_didemo(real: Path) -> None:
    found, each = read("didemo", real), read("didemo", real, captions="each")
    assert counts(found) == (0, 0, 1037, 1037) and counts(each) == (0, 0, 1037, 4021)
    plugin = dataset("didemo")
    assert len({plugin.group_of(sample.clip) for sample in found.test[1]}) == 1004
    assert found.defects == plugin.defects
    tmass = read("didemo", real, lists="tmass")
    assert counts(tmass) == (0, 0, 1004, 1004) and set(tmass.spans.values()) == {(0.0, 31.0)}
    same = sum(tmass.captions[clip][0].split() == found.captions[clip][0].split() for clip in tmass.captions)
    assert same == 1004  # paragraphs are joined as T-MASS joins them
    assert sum("\n" in texts[0] for texts in tmass.captions.values()) == 3  # and 4 at an end, where blanks are dropped


def test_real_activitynet(real: Path) -> None:
    found, each = read("activitynet_captions", real), read("activitynet_captions", real, captions="each")
    assert counts(found) == (0, 0, 4885, 4885) and counts(each) == (0, 0, 4885, 17_031)
    assert sum(sample.clip.startswith("-") for sample in found.test[1]) == 78
    assert set(found.spans) == set(found.captions) and max(end for _, end in found.spans.values()) == 746
    assert not any("  " in texts[0] and "\n" not in texts[0] for texts in list(found.captions.values())[:1])
