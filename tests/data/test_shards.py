"""Videos in tar shards: the same clips, frames and keys as of files, whatever wrote the shard; and what is refused."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.registry import DATASETS
from petl_bench.data.decoding import shards
from petl_bench.data.decoding.clips import read_clip
from petl_bench.data.decoding.shards import member_at, opened, shard_index
from petl_bench.data.decoding.tar_headers import TarFault, TarMember, read_headers
from petl_bench.data.found.entries import Counted
from petl_bench.data.found.fingerprints import Fingerprints, are_unchanged
from petl_bench.data.found.manifest import Manifest, build_manifest
from petl_bench.data.found.scanning import examine
from petl_bench.data.found.tree import walk
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.errors import DataError
from tests.commands import petl_bench
from tests.data.test_formats import each_file
from tests.data.test_tree import assert_adds_up

HAVE_DECORD = importlib.util.find_spec("decord") is not None
DECODERS = ("auto", "pyav", *(["decord"] if HAVE_DECORD else []))
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)

WriteVideo = Callable[..., Path]


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def pack(shard: Path, members: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w", format=kind) as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return shard


def pack_folder(root: Path, to: Path, count: int = 2) -> Path:
    """The videos of a folder in `count` shards, in turn; all else copied beside them."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    videos = [path for path in files if path.suffix in (".mp4", ".avi")]
    for number in range(count):
        part = {path.relative_to(root).as_posix(): path.read_bytes() for path in videos[number::count]}
        pack(to / f"part-{number:03}.tar", part, FORMATS[number % 3])
    for path in (path for path in files if path not in videos):
        beside = to / path.relative_to(root)
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(path.read_bytes())
    return to


def headers(path: Path) -> list[TarMember]:
    with path.open("rb") as archive:
        return list(read_headers(archive.fileno(), path.stat().st_size))


def fault(path: Path) -> str:
    with pytest.raises(TarFault) as refusal:
        headers(path)
    return str(refusal.value)


# ---------------------------------------------------------------- headers

_LETTERS = st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",))
_NAMES = st.lists(
    st.text(_LETTERS, min_size=1, max_size=90).filter(lambda part: part not in (".", "..")), min_size=1, max_size=3
).map("/".join)


@given(
    names=st.lists(_NAMES, min_size=1, max_size=6, unique=True),
    sizes=st.lists(st.sampled_from([0, 1, 511, 512, 513, 1500]), min_size=6, max_size=6),
    kind=st.sampled_from(FORMATS),
    padding=st.sampled_from([0, 512, 20480]),
    prefix=st.sampled_from(["", "./"]),
)
def test_members_are_those_that_tarfile_sees(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], sizes: list[int], kind: int, padding: int, prefix: str
) -> None:
    shard = tmp_path_factory.mktemp("shard") / "a.tar"
    contents = {prefix + name: os.urandom(size) for name, size in zip(names, sizes, strict=False)}
    if any(len(name.encode()) > 100 for name in contents):  # ustar knows no longer ones
        kind = max(kind, tarfile.GNU_FORMAT)
    pack(shard, contents, kind)
    with shard.open("ab") as file:
        file.write(bytes(padding))
    found = headers(shard)
    with tarfile.open(shard) as archive:
        expected = [(member.name.removeprefix("./"), member.offset_data, member.size) for member in archive]
    assert [(member.name, member.offset, member.size) for member in found] == expected
    assert not any(member.refused or member.is_folder for member in found)
    for name, content in contents.items():
        with opened(f"{shard}/{name.removeprefix('./')}") as file:
            assert file.read() == content


@given(st.binary(max_size=4000), st.integers(0, 3000), st.booleans())
def test_no_bytes_are_too_odd(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, is_checked: bool
) -> None:
    """Damage anywhere ends in a fault, or in members that lie within the archive."""
    shard = tmp_path_factory.mktemp("shard") / "a.tar"
    content = bytearray(pack(shard, {"a/" + "long" * 60: bytes(600), "b.mp4": b"b" * 700}).read_bytes())
    content[at : at + len(noise)] = noise
    if is_checked:  # with a right checksum, what a header says is read
        for block in range(0, len(content) - 511, 512):
            header = content[block : block + 512]
            total = sum(header[:148]) + 8 * 32 + sum(header[156:])
            content[block + 148 : block + 156] = b"%06o\0 " % total if any(header) else bytes(8)
    shard.write_bytes(content)
    try:
        found = headers(shard)
    except TarFault as error:
        assert str(error).isprintable()
        return
    assert all(0 <= member.offset <= member.offset + member.size <= len(content) for member in found)


def made(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **pax: str) -> bytes:
    """The header of one member."""
    header = tarfile.TarInfo(name)
    header.type, header.size, header.linkname, header.pax_headers = kind, size, "/etc/passwd", pax
    return header.tobuf(tarfile.PAX_FORMAT)


END = bytes(1024)
VIDEO = b"v" * 512


@pytest.mark.parametrize(
    ("header", "name", "reason"),
    [
        (made("/abs.mp4"), "abs.mp4", "an absolute name"),
        (made("a/../../b.mp4"), "a/../../b.mp4", "a name with .."),
        (made("x", path="a\0b.mp4"), "a\\0b.mp4", "a name with a NUL"),
        (made("l.mp4", tarfile.SYMTYPE), "l.mp4", "a symbolic link"),
        (made("l.mp4", tarfile.LNKTYPE), "l.mp4", "a hard link"),
        (made("d.mp4", tarfile.CHRTYPE), "d.mp4", "a device"),
        (made("d.mp4", tarfile.BLKTYPE), "d.mp4", "a device"),
        (made("p.mp4", tarfile.FIFOTYPE), "p.mp4", "a pipe"),
        (made("q.mp4", b"Q"), "q.mp4", "of a kind that is not known"),
        (made("s.mp4", tarfile.GNUTYPE_SPARSE), "s.mp4", "a sparse file; pack it without --sparse"),
        (made("s.mp4", **{"GNU.sparse.major": "1"}), "s.mp4", "a sparse file; pack it without --sparse"),
        (made("n" * 5000), "n" * 100, "a name of 5,000 characters"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_a_member_that_is_no_plain_file_is_refused_and_its_neighbours_are_read(
    tmp_path: Path, header: bytes, name: str, reason: str
) -> None:
    shard = tmp_path / "a.tar"
    shard.write_bytes(made("first.mp4", size=512) + VIDEO + header + made("last.mp4", size=512) + VIDEO + END)
    first, refused, last = headers(shard)
    assert (first.name, last.name, last.size) == ("first.mp4", "last.mp4", 512)
    assert (refused.name, refused.refused) == (name, reason)
    tree = walk(tmp_path)
    assert tree.files == ("first.mp4", "last.mp4")
    assert tree.entries.unreadable == {f"a.tar/{name}": reason}
    assert_adds_up(tree)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("caf\udce9.mp4").tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    (tmp_path / "a.tar").write_bytes(header + END)
    assert walk(tmp_path).entries.unreadable == {"a.tar/caf\\xe9.mp4": "the name is not UTF-8; rename it"}


def test_old_sparse_files_of_many_parts_are_passed_over(tmp_path: Path) -> None:
    header = bytearray(made("s.mp4", tarfile.GNUTYPE_SPARSE, size=512))
    header[482] = 1
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    more = bytearray(512)
    more[504] = 1
    shard = tmp_path / "a.tar"
    shard.write_bytes(bytes(header) + bytes(more) + bytes(512) + VIDEO + made("b.mp4", size=512) + VIDEO + END)
    assert [member.name for member in headers(shard)] == ["s.mp4", "b.mp4"]


WHOLE = made("a.mp4", size=512) + VIDEO + made("b.mp4", size=1024) + VIDEO * 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"<!doctype html><p>Not found", "no tar archive"),
        (b"<html>" * 200, "no tar archive"),
        (b"\x1f\x8b" + bytes(600), "compressed; undo that (gzip -d): members are read in place"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed; undo that (zstd -d): members are read in place"),
        (WHOLE[:-700], "cut short: of b.mp4, 1,024 bytes, the first 324 are there"),
        (WHOLE[:1100], "cut short within a header"),
        (WHOLE, "cut short: the end mark is missing"),
        (WHOLE + END + WHOLE + END, "more follows its end mark at byte 2,560 (two archives in one?); it is not read"),
        (WHOLE[:1024] + b"?" * 512, "damaged: no header at byte 1,024; members from there on are not read"),
        (made("x", tarfile.XHDTYPE, 2**30), "damaged: an extended header of 1,073,741,824 bytes at byte 0"),
        (made("x", tarfile.GNUTYPE_LONGNAME, 2**32), "damaged: an extended header of 4,294,967,296 bytes at byte 0"),
        (made("x", size=2**60) + VIDEO, "cut short: of x, 1,152,921,504,606,846,976 bytes, the first 512 are there"),
    ],
)
def test_a_damaged_shard_is_named_and_its_whole_members_are_read(tmp_path: Path, content: bytes, reason: str) -> None:
    shard = tmp_path / "a.tar"
    shard.write_bytes(content)
    assert fault(shard) == reason
    pack(tmp_path / "c.tar", {"c.mp4": b"beside"})
    tree = walk(tmp_path)
    assert tree.entries.unreadable == {"a.tar": reason}
    assert "c.mp4" in tree.files and set(tree.files) <= {"a.mp4", "b.mp4", "c.mp4"}
    assert_adds_up(tree)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (b"\x80" + (2**63 - 1).to_bytes(11), "cut short: of a.mp4, 9,223,372,036,854,775,807 bytes, the first 512"),
        (b"\x80" + (2**63).to_bytes(11), "cut short: of a.mp4, 9,223,372,036,854,775,808 bytes, the first 512"),
        ((256**12 - 512).to_bytes(12), "damaged: a.mp4 has a size below 0"),
        (b"0000000000x\0", "no tar archive"),
        (b"0x200".ljust(12, b"\0"), "no tar archive"),
    ],
)
def test_sizes_that_cannot_be_are_damage(tmp_path: Path, size: bytes, words: str) -> None:
    header = bytearray(made("a.mp4"))
    header[124:136] = size
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    (tmp_path / "a.tar").write_bytes(bytes(header) + VIDEO)
    assert fault(tmp_path / "a.tar").startswith(words)


def test_of_two_names_the_one_in_pax_records_counts(tmp_path: Path) -> None:
    long = b"long/\x1b[2Jname.mp4\0"
    shard = tmp_path / "a.tar"
    long_name = made("x", tarfile.GNUTYPE_LONGNAME, len(long)) + long.ljust(512, b"\0")
    shard.write_bytes(made("x", path="p/q.mp4")[:1024] + long_name + made("short.mp4") + END)
    assert [member.name for member in headers(shard)] == ["p/q.mp4"]
    shard.write_bytes(long_name + made("short.mp4", size=512))
    assert fault(shard) == "cut short: of long/ [2Jname.mp4, 512 bytes, the first 0 are there"


def test_bad_records_are_damage(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    for records, words in (
        (b"99 path=x\n", "damaged: no PAX records"),
        (b"x", "damaged: no PAX records"),
        (b"10 size=x\n", "damaged: a size that is no number"),
        (b"11 size=-1\n", "damaged: a size that is no number"),
    ):
        shard.write_bytes(made("x", tarfile.XHDTYPE, len(records)) + records.ljust(512, b"\0") + made("y") + END)
        assert fault(shard).startswith(words)
    records = b"12 path=x.y\n"
    shard.write_bytes(made("x", tarfile.XGLTYPE, len(records)) + records.ljust(512, b"\0") + made("y") + END)
    assert fault(shard).startswith("damaged: one name or size for all members")


# ---------------------------------------------------------------- walking


def test_members_count_as_if_unpacked_where_the_shard_lies(tmp_path: Path) -> None:
    members = {"Run/a.mp4": b"1", "./Run/b.MP4": b"2", "Run/a.txt": b"3", "Run/.c.mp4": b"4", ".d/e.mp4": b"5"}
    shard = pack(tmp_path / "train/0.tar", members)
    with tarfile.open(shard, "a") as archive:
        folder = tarfile.TarInfo("Run")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    tree = walk(tmp_path)
    assert tree.files == ("train/Run/a.mp4", "train/Run/b.MP4")
    assert dict(tree.shards) == dict.fromkeys(tree.files, "train/0.tar")
    assert tree.path("train/Run/a.mp4") == shard / "Run/a.mp4"
    assert tree.entries.kinds == {
        "hidden": Counted(2, "train/0.tar/.d/e.mp4"),
        "members": Counted(2, "train/0.tar"),
        "videos": Counted(2, "train/0.tar/Run/a.mp4"),
        "folders": Counted(1, "train"),
        "shards": Counted(1, "train/0.tar"),
    }
    assert tree.entries.total == 8 and tree.entries.unreadable == {}
    assert_adds_up(tree)


def test_a_folder_may_be_called_like_a_shard(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar/z.TAR", {"y.tar/b.mp4": b"bb"})
    tree = walk(tmp_path)
    assert tree.files == ("x.tar/y.tar/b.mp4",)
    member = member_at(tree.path(*tree.files))
    assert member is not None and member.size == 2
    (tmp_path / "x.tar/y.tar").mkdir()
    (tmp_path / "x.tar/y.tar/a.mp4").write_bytes(b"a")
    tree = walk(tmp_path)
    assert tree.files == ("x.tar/y.tar/a.mp4",)
    assert member_at(tree.path(*tree.files)) is None


def test_one_name_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(DataError) as refusal:
            walk(folder)
        return str(refusal.value).replace(str(folder), "ROOT")

    two = tmp_path / "two"
    pack(two / "a.tar", {"1.mp4": b"1"})
    pack(two / "b.tar", {"1.mp4": b"1"})
    assert refused(two) == (
        "ROOT: a.tar and b.tar both hold 1.mp4; rename one of them, or put the shards into folders of their own"
    )
    once = pack(tmp_path / "once/a.tar", {"1.mp4": b"1", "x.txt": b"x"})
    with tarfile.open(once, "a") as archive:
        archive.addfile(tarfile.TarInfo("x.txt"))
    assert walk(once.parent).files == ("1.mp4",)
    with tarfile.open(once, "a") as archive:
        archive.addfile(tarfile.TarInfo("./1.mp4"))
    assert refused(once.parent) == "ROOT/a.tar: 1.mp4 is there twice; remove one, or pack the shard again"


ARCHIVES = {
    "the same clips": {"a.tar": ("Run/1.mp4", "Walk/0.mp4")},
    "their folder": {"a.tar": ("videos/Run/1.mp4", "videos/Walk/0.mp4")},
    "elsewhere": {"tars/train/part_0.tar": ("1.mp4", "0.mp4")},
    "other clips": {"Run/more.tar": ("Run/9.mp4", "x.mp4", "9/9/9.mp4")},
    "code": {"code.tar": ("src/a.py", "demo/b.mp4", "train.csv", "0.txt", "0.json")},
    "doubles": {"a.tar": ("1.mp4", "1.mp4"), "b.tar": ("1.mp4",)},
    "damaged": {"a.tar": (), "annotations.tar.gz": ()},
}


@pytest.mark.parametrize("archives", ARCHIVES.values(), ids=ARCHIVES)
@pytest.mark.parametrize("dataset", ["folder", "ucf101"])
def test_archives_beside_unpacked_clips_change_nothing(
    tmp_path: Path, videos: list[bytes], dataset: str, archives: Mapping[str, tuple[str, ...]]
) -> None:
    contents = classes(videos) if dataset == "folder" else ucf101(videos)
    root = write_all(tmp_path / "root", contents)
    alone = build_manifest(DATASETS.get(dataset)(), root, tmp_path / "cache")
    for file, names in archives.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(root / file, "w") as archive:
            for name in names:
                header = tarfile.TarInfo(name)
                header.size = 5
                archive.addfile(header, io.BytesIO(b"other"))
        if not names:
            (root / file).write_bytes(b"damaged")
    beside = build_manifest(DATASETS.get(dataset)(), root, tmp_path / "cache")
    assert beside.sha256 == alone.sha256 and beside.captions_sha256 == alone.captions_sha256 == ""
    assert replace(beside.annotations, notes=()) == replace(alone.annotations, notes=())
    assert beside.found == alone.found
    named = [f"1 tar archive not read, e.g. {file}:" for file in archives if file.endswith(".tar")]
    assert len(archives) > 1 or any(note.startswith(named[0]) for note in beside.notes)
    tree = walk(root)
    assert tree.entries.other_files[".tar"].count == len(named)
    assert_adds_up(tree)


def test_a_stray_video_beside_shards_is_named(tmp_path: Path, videos: list[bytes]) -> None:
    pack(tmp_path / "a.tar", classes(videos))
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/teaser.gif").write_bytes(b"GIF89a")
    words = "1 tar archive not read, e.g. a.tar: shards are read only if no video lies unpacked under the root"
    with pytest.raises(DataError) as refusal:
        DATASETS.get("folder")().annotations(tmp_path)
    assert str(refusal.value).endswith(words)
    done = petl_bench("search", "--videos", tmp_path, "--query", "x")
    assert words in done.stderr


def test_compressed_archives_are_named_with_what_undoes_it(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    (tmp_path / "b.tgz").write_bytes(b"x")
    words = "2 compressed tar archives cannot be read in place, e.g. a.tar.gz; undo the compression: gzip -d a.tar.gz"
    with pytest.raises(DataError) as refusal:
        DATASETS.get("folder")().annotations(tmp_path)
    assert str(refusal.value) == f"{tmp_path}: no videos; {words}"
    done = petl_bench("search", "--videos", tmp_path, "--query", "x")
    assert done.returncode == 2 and done.stderr.strip().endswith(words)
    assert_adds_up(walk(tmp_path))


def test_a_shard_cut_short_is_one_line_for_a_search(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(WHOLE[:800])
    done = petl_bench("search", "--videos", tmp_path, "--query", "x")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "a.tar: cut short: of a.mp4, 512 bytes, the first 288 are there" in done.stderr


# ---------------------------------------------------------------- reading


def test_a_member_gives_its_bytes_and_no_others(tmp_path: Path) -> None:
    shard = pack(tmp_path / "a.tar", {"x": b"before", "y.mp4": bytes(range(200)), "z": b"after"})
    with opened(shard / "y.mp4") as file:
        assert file.read() == bytes(range(200))
        assert file.seek(-3, os.SEEK_END) == 197 and file.read(100) == bytes((197, 198, 199))
        assert file.seek(500) == 500 and file.read() == b""
        file.seek(10)
        assert file.read(2) == bytes((10, 11)) and file.tell() == 12
        with pytest.raises(OSError, match="before the start"):
            file.raw.seek(-1)  # type: ignore[attr-defined]
    with pytest.raises(FileNotFoundError) as missing:
        opened(shard / "w.mp4")
    assert missing.value.strerror == "the shard has no such member"


@each_file
def test_frames_and_fingerprints_are_those_of_the_file(
    tmp_path: Path, write_video: WriteVideo, ending: str, container: str, how: dict[str, Any]
) -> None:
    (tmp_path / "files").mkdir()
    path = write_video(tmp_path / f"files/clip.{ending}", 8, container=container, **how)
    other = b"\0\0\1\xba" * 1000
    shard = pack(tmp_path / "shards/a.tar", {f"0.{ending}": other, path.name: path.read_bytes(), f"1.{ending}": other})
    for decoder in DECODERS:
        try:
            expected = read_clip(path, range, decoder)
        except DataError as error:
            with pytest.raises(DataError) as refusal:
                read_clip(shard / path.name, range, decoder)
            assert str(refusal.value) == str(error).replace(str(path), str(shard / path.name))
            continue
        found = read_clip(shard / path.name, range, decoder)
        assert np.array_equal(found.frames, expected.frames)
        assert (found.decoder, found.reason, found.num_frames) == (
            expected.decoder,
            expected.reason,
            expected.num_frames,
        )
    assert examine(shard / path.name) == examine(path)
    file = Fingerprints(path.parent, tmp_path / "cache").of([path.name])[0][path.name]
    tree = walk(shard.parent)
    member = Fingerprints(tree.root, tmp_path / "cache", tree.shards).of([path.name])[0][path.name]
    assert (member.fingerprint, member.bytes) == (file.fingerprint, file.bytes)
    assert member.path == shard / path.name


def test_what_cannot_be_read_has_the_words_of_a_file(tmp_path: Path) -> None:
    contents = {"empty.mp4": b"", "page.mp4": b"<html>", "noise.mp4": b"noise" * 100}
    shard = pack(tmp_path / "a.tar", contents)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as of_file:
            read_clip(tmp_path / name, range)
        with pytest.raises(DataError) as of_member:
            read_clip(shard / name, range)
        words = str(of_file.value).partition("; last error log")[0]  # FFmpeg says the same thing once
        assert str(of_member.value).startswith(words.replace(str(tmp_path / name), str(shard / name)))
    with pytest.raises(DataError, match=r"a\.tar/gone\.mp4: the shard has no such member"):
        read_clip(shard / "gone.mp4", range)


def test_a_playlist_in_a_shard_leads_nowhere(tmp_path: Path, write_video: WriteVideo) -> None:
    video = write_video(tmp_path / "secret.mp4", 5)
    lists = {"concat.mp4": f"ffconcat version 1.0\nfile {video}\n".encode(), "hls.mp4": f"#EXTM3U\n{video}\n".encode()}
    shard = pack(tmp_path / "a.tar", lists)
    for name in lists:
        with pytest.raises(DataError):
            read_clip(shard / name, range)


# ---------------------------------------------------------------- data sets


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> list[bytes]:
    """Six different short videos."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{n}.mp4", 9 + n, height=32, width=32).read_bytes() for n in range(6)]


def write_all(root: Path, contents: Mapping[str, bytes]) -> Path:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def manifests(dataset: str, files: Path, packed: Path, cache: Path) -> tuple[Manifest, Manifest]:
    first, second = (build_manifest(DATASETS.get(dataset)(), root, cache) for root in (files, packed))
    return first, second


def assert_same_data(files: Manifest, packed: Manifest) -> None:
    assert packed.sha256 == files.sha256
    assert packed.captions_sha256 == files.captions_sha256
    assert len(packed.found) == len(files.found) > 0
    assert not packed.missing and not packed.ambiguous
    assert all(file.shard for file in packed.found.values())


def ucf101(videos: list[bytes]) -> dict[str, bytes]:
    names = ["Archery", "Typing"]
    clips = {f"{name}/v_{name}_g{group:02}_c01.avi": videos[2 * at + group] for at, name in enumerate(names)
             for group in (0, 1)}  # fmt: skip
    return clips | {
        "ucfTrainTestlist/classInd.txt": b"1 Archery\n2 Typing\n",
        "ucfTrainTestlist/trainlist01.txt": b"Archery/v_Archery_g01_c01.avi 1\nTyping/v_Typing_g01_c01.avi 2\n",
        "ucfTrainTestlist/testlist01.txt": b"Archery/v_Archery_g00_c01.avi\nTyping/v_Typing_g00_c01.avi\n",
    }


def classes(videos: Iterable[bytes], sides: str = "") -> dict[str, bytes]:
    return {f"{sides}{('Run', 'Walk')[n % 2]}/{n}.mp4": content for n, content in enumerate(videos)}


@pytest.mark.parametrize("count", [1, 3])
def test_class_folders_in_shards_are_the_same_data(tmp_path: Path, videos: list[bytes], count: int) -> None:
    files = write_all(tmp_path / "files", classes(videos))
    packed = pack_folder(files, tmp_path / "packed", count)
    found = manifests("folder", files, packed, tmp_path / "cache")
    assert_same_data(*found)
    words = f"6 of 6 clips are read in {'1 tar shard' if count == 1 else '3 tar shards'}"
    assert words in found[1].notes
    assert found[1].account.entries.count("shards") == count


def test_sides_in_shards_and_above_them_are_the_same_data(tmp_path: Path, videos: list[bytes]) -> None:
    contents = classes(videos[:4], "train/") | classes(videos[4:], "val/")
    files = write_all(tmp_path / "files", contents)
    assert_same_data(*manifests("folder", files, pack_folder(files, tmp_path / "packed"), tmp_path / "cache"))
    for side in ("train", "val"):
        pack_folder(files / side, tmp_path / "above" / side, 1)
    assert_same_data(*manifests("folder", files, tmp_path / "above", tmp_path / "cache"))


def test_own_lists_and_captions_beside_shards_are_the_same_data(tmp_path: Path, videos: list[bytes]) -> None:
    contents = {f"{n}.mp4": content for n, content in enumerate(videos)}
    texts = {
        "train.csv": b"path,label\n0.mp4,run\n1.mp4,walk\n2.mp4,run\n3.mp4,walk\n",
        "test.csv": b"path,label\n4.mp4,run\n5.mp4,walk\n",
        "captions.csv": b"clip,caption\n" + b"".join(b"%d.mp4,number %d\n" % (n, n) for n in range(6)),
    }
    files = write_all(tmp_path / "files", contents | texts)
    found = manifests("folder", files, pack_folder(files, tmp_path / "packed"), tmp_path / "cache")
    assert_same_data(*found)
    assert len(found[1].annotations.captions) == 6


def test_published_lists_find_their_clips_in_shards(tmp_path: Path, videos: list[bytes]) -> None:
    files = write_all(tmp_path / "files", ucf101(videos))
    deeper = pack_folder(files, tmp_path / "packed")
    assert_same_data(*manifests("ucf101", files, deeper, tmp_path / "cache"))


def flat(videos: Iterable[bytes], form: str, sides: Iterable[str] = ("",)) -> dict[str, bytes]:
    """WebDataset's layout: videos by number, and a file with the class beside each."""
    labels: dict[str, Callable[[int], bytes]] = {
        "names": lambda n: (b"run", b"walk\n")[n % 2],
        "numbers": lambda n: b"%d" % (n % 2),
        "json": lambda n: json.dumps({"fps": 25, "label": n % 2}).encode(),
        "json names": lambda n: json.dumps({"class": ("run", "walk")[n % 2], "caption": "x"}).encode(),
    }
    suffix = "json" if form.startswith("json") else "cls"
    contents, all_sides = {}, list(sides)
    for n, content in enumerate(videos):
        stem = f"{all_sides[n % 4 // 2 % len(all_sides)]}{n:06}"
        contents |= {f"{stem}.mp4": content, f"{stem}.{suffix}": labels[form](n)}
    return contents


@pytest.mark.parametrize("form", ["names", "numbers", "json", "json names"])
def test_labels_beside_videos_are_read_from_files_and_shards(tmp_path: Path, videos: list[bytes], form: str) -> None:
    contents = flat(videos, form)
    files = write_all(tmp_path / "files", contents)
    members = list(contents.items())
    for number in range(3):
        pack(tmp_path / f"packed/{number}.tar", dict(members[4 * number : 4 * number + 4]))
    if form in ("numbers", "json"):
        for root in (files, tmp_path / "packed"):
            (root / "classes.txt").write_text("run\nwalk\n")
    found = manifests("folder", files, tmp_path / "packed", tmp_path / "cache")
    assert_same_data(*found)
    assert found[1].annotations.classes == ("run", "walk")
    samples = (*found[1].annotations.train[1], *found[1].annotations.test[1])
    assert {sample.clip: sample.label for sample in samples} == {f"{n:06}.mp4": n % 2 for n in range(6)}
    source = "as in the lists" if "names" in form else "from classes.txt"
    note = f"read from labels beside the videos (.cls, .json); class names {source}"
    assert note in found[0].notes and note in found[1].notes


def test_labels_beside_videos_with_folders_as_sides(tmp_path: Path, videos: list[bytes]) -> None:
    contents = flat([*videos, videos[0] + b"1", videos[1] + b"1"], "names", ("train/", "test/"))
    files = write_all(tmp_path / "files", contents)
    for side in ("train", "test"):
        part = {name.partition("/")[2]: content for name, content in contents.items() if name.startswith(side)}
        pack(tmp_path / f"packed/{side}/0.tar", part)
    found = manifests("folder", files, tmp_path / "packed", tmp_path / "cache")
    assert_same_data(*found)
    annotations = found[1].annotations
    assert [sample.clip for sample in annotations.train[1]] == [f"train/{n:06}.mp4" for n in (0, 1, 4, 5)]
    assert [sample.clip for sample in annotations.test[1]] == [f"test/{n:06}.mp4" for n in (2, 3, 6, 7)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"000001.cls": None},
            "5 of 6 clips have a label beside them (.cls or .json), and others none, e.g. 000001.mp4",
        ),
        ({"000001.cls": b" \n"}, "000001.cls: empty; it should hold the class of 000001.mp4"),
        ({"000001.cls": b"\xff"}, "a.tar/000001.cls: not a UTF-8 text (byte 0); save it as UTF-8"),
        (
            {"000001.cls": b"x" * (2**20 + 1)},
            "a.tar/000001.cls: more than 1,048,576 bytes; too long for a label or a caption",
        ),
        ({"000001.cls": None, "000001.json": b"{"}, "000001.json: no JSON text"),
        ({"000001.cls": None, "000001.json": b"[" * 10**5}, "000001.json: no JSON text"),
        (
            {"000001.cls": None, "000001.json": b'{"label": [1]}'},
            "000001.json: the class is neither a number nor a name",
        ),
        ({"000001.cls": None, "000001.json": b"[]"}, "e.g. 000001.mp4"),
    ],
)
def test_labels_that_cannot_be_read_are_one_line(
    tmp_path: Path, videos: list[bytes], change: dict[str, bytes | None], words: str
) -> None:
    contents = {name: content for name, content in (flat(videos, "names") | change).items() if content is not None}
    pack(tmp_path / "a.tar", contents)
    with pytest.raises(DataError) as refusal:
        DATASETS.get("folder")().annotations(tmp_path)
    assert str(refusal.value).endswith(words) and str(refusal.value).startswith(str(tmp_path))


@pytest.mark.parametrize("labels", [True, False])
def test_captions_beside_videos_are_read_from_files_and_shards(
    tmp_path: Path, videos: list[bytes], labels: bool
) -> None:
    contents = {f"{n:06}.mp4": content for n, content in enumerate(videos)}
    contents |= {f"{n:06}.txt": b" a man runs, %d times\n" % n for n in range(3)}
    contents |= {f"{n:06}.json": json.dumps({"captions": ["a", f"b {n}"]}).encode() for n in range(3, 6)}
    if labels:
        contents |= {f"{n:06}.cls": (b"run", b"walk")[n % 2] for n in range(6)}
    files = write_all(tmp_path / "files", contents)
    pack(tmp_path / "packed/0.tar", contents)
    found = manifests("folder", files, tmp_path / "packed", tmp_path / "cache")
    assert_same_data(*found)
    annotations = found[1].annotations
    assert annotations.captions["000002.mp4"] == ("a man runs, 2 times",)
    assert annotations.captions["000005.mp4"] == ("a", "b 5")
    assert len(annotations.captions) == 6 and annotations.classes == (("run", "walk") if labels else ())
    assert found[1].captions_sha256


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("000001.txt", b" \n", "000001.txt: a caption that is empty, or no text; write one, or remove it"),
        ("000001.json", b'{"caption": 5}', "000001.json: a caption that is empty, or no text; write one, or remove it"),
        ("000001.json", b"{}", "no caption of the clip '000001.mp4'; write captions, move such videos out of the"),
    ],
)
def test_captions_that_cannot_be_read_are_one_line(
    tmp_path: Path, videos: list[bytes], name: str, content: bytes, words: str
) -> None:
    contents = {f"{n:06}.mp4": content for n, content in enumerate(videos)}
    pack(tmp_path / "a.tar", contents | {f"{n:06}.txt": b"x" for n in (0, 2, 3, 4, 5)} | {name: content})
    with pytest.raises(DataError) as refusal:
        DATASETS.get("folder")().annotations(tmp_path)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("beside", [("txt", "1\n00:00 --> 00:01\nhello"), ("json", '{"label": "z", "caption": "y"}'),
                                    ("cls", "5"), ("txt", ""), ("json", "{")])  # fmt: skip
def test_texts_beside_videos_in_class_folders_change_nothing(
    tmp_path: Path, videos: list[bytes], beside: tuple[str, str]
) -> None:
    root = write_all(tmp_path / "root", classes(videos))
    alone = build_manifest(DATASETS.get("folder")(), root, tmp_path / "cache")
    write_all(root, {name.replace("mp4", beside[0]): beside[1].encode() for name in classes(videos)})
    found = build_manifest(DATASETS.get("folder")(), root, tmp_path / "cache")
    assert (found.sha256, found.captions_sha256, found.notes) == (alone.sha256, "", alone.notes)


def test_labels_beside_videos_change_nothing_if_a_file_has_captions(tmp_path: Path, videos: list[bytes]) -> None:
    captions = b"clip,caption\n" + b"".join(b"%06d.mp4,number %d\n" % (n, n) for n in range(6))
    contents = {f"{n:06}.mp4": video for n, video in enumerate(videos)} | {"captions.csv": captions}
    root = write_all(tmp_path / "root", contents)
    alone = build_manifest(DATASETS.get("folder")(), root, tmp_path / "cache")
    write_all(root, flat(videos, "json names"))
    found = build_manifest(DATASETS.get("folder")(), root, tmp_path / "cache")
    assert (found.sha256, found.captions_sha256) == (alone.sha256, alone.captions_sha256)
    assert found.annotations.classes == () and len(found.annotations.captions) == 6


NAMES = {
    "two spellings of one letter": ("A/caf\u00e9.mp4", "A/cafe\u0301.mp4", "A/2.mp4", "B/3.mp4", "B/4.mp4", "B/5.mp4"),
    "letter case": ("A/x.mp4", "A/X.mp4", "A/2.mp4", "B/3.mp4", "B/4.mp4", "B/5.mp4"),
    "odd letters": ("A/a b,c:%03d#?.mp4", "A/=1+1.mp4", "A/\U0001f600.mp4", "B/x\ny.mp4", "B/\x1b[31m.mp4", "B/5.mp4"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_mean_what_those_of_files_do(tmp_path: Path, videos: list[bytes], names: tuple[str, ...]) -> None:
    contents = dict(zip(names, videos, strict=True))
    files = write_all(tmp_path / "files", contents)
    pack(tmp_path / "real/100%d, a:b.x", contents)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/100%d, a:b.tar").symlink_to(tmp_path / "real/100%d, a:b.x")
    found = manifests("folder", files, tmp_path / "packed", tmp_path / "cache")
    assert_same_data(*found)
    for clip, file in found[1].found.items():
        of_file = read_clip(files / clip, range).frames
        assert all(np.array_equal(read_clip(file.path, range, decoder).frames, of_file) for decoder in DECODERS)


def test_class_folders_go_before_labels_beside(tmp_path: Path, videos: list[bytes]) -> None:
    contents = classes(videos) | {name.replace(".mp4", ".cls"): b"other" for name in classes(videos)}
    pack(tmp_path / "a.tar", contents)
    assert DATASETS.get("folder")().annotations(tmp_path).classes == ("Run", "Walk")


def test_shards_named_after_sides_are_not_mixed(tmp_path: Path, videos: list[bytes]) -> None:
    members = list(flat(videos, "names").items())
    pack(tmp_path / "train-000.tar", dict(members[:6]))
    pack(tmp_path / "val-000.tar", dict(members[6:]))
    with pytest.raises(DataError) as refusal:
        DATASETS.get("folder")().annotations(tmp_path)
    assert str(refusal.value) == (
        f"{tmp_path}: the shards are named after sides (train-000.tar, val-000.tar), and nothing else says which clips "
        "train; put them into folders called train, val and test"
    )


def test_a_shard_that_changes_is_read_again(tmp_path: Path, videos: list[bytes]) -> None:
    root, cache = tmp_path / "packed", tmp_path / "cache"
    shard = pack(root / "a.tar", classes(videos))
    before = build_manifest(DATASETS.get("folder")(), root, cache)
    clips = ClipCache(tmp_path / "clips")
    keys = {clip: clips.key(file.path, "auto", 8, "s") for clip, file in before.found.items()}
    assert are_unchanged(list(before.found.values()))
    swapped = [*videos[:4], videos[5], videos[4]]
    pack(shard, classes(swapped))
    os.utime(shard, ns=(0, 0))
    assert not are_unchanged(list(before.found.values()))
    after = build_manifest(DATASETS.get("folder")(), root, cache)
    assert after.sha256 != before.sha256
    assert all(clips.key(file.path, "auto", 8, "s") != keys[clip] for clip, file in after.found.items())


def test_the_members_of_a_shard_are_read_once_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = pack(tmp_path / "a.tar", {"1.mp4": b"1", "2.mp4": b"22"})
    cache = Path(os.environ["PETL_BENCH_CACHE"]) / "shards"
    first = shard_index(str(shard))
    (kept,) = cache.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600

    def again() -> shards.ShardIndex:
        shards._index.cache_clear()
        return shard_index(str(shard))

    reads: list[int] = []
    monkeypatch.setattr(shards, "read_headers", lambda *given: (reads.append(1), read_headers(*given))[1])
    assert again() == first and not reads
    stored = json.loads(kept.read_text())
    for damage in (
        {"members": [["1.mp4", 0, 10**9]]},
        {"members": [["1.mp4", -5, 1]]},
        {"members": 5},
        {"stamp": [1, 2]},
        {"refused": []},
        {"version": 0},
    ):
        kept.write_text(json.dumps(stored | damage))
        reads.clear()
        assert again() == first and reads, damage
    kept.write_bytes(b"\xff{")
    assert again() == first
    kept.chmod(0o666)
    reads.clear()
    assert again() == first and reads


def test_a_trial_on_shards_is_the_trial_on_files(tmp_path: Path, videos: list[bytes]) -> None:
    files = write_all(tmp_path / "files", classes(videos))
    packed = pack_folder(files, tmp_path / "packed")
    runs, trials = tmp_path / "runs", []
    for root in (packed, files):
        done = petl_bench("run", "--methods", "zero_shot", "--setting", "fully_supervised", "--datasets", "folder",
                          "--set", f"folder.path={root}", "--workers", "2", "--runs", runs)  # fmt: skip
        assert done.returncode == 0, done.stderr
        trials.append({path: path.stat().st_mtime_ns for path in (runs / "trials").rglob("*") if path.is_file()})
    assert trials[0] and trials[0] == trials[1]  # the second time nothing was left to do


def test_scanning_and_searching_read_shards(tmp_path: Path, videos: list[bytes]) -> None:
    root = tmp_path / "packed"
    pack(root / "a.tar", classes(videos[:4]) | {"Run/bad.mp4": b"bad"})
    pack(root / "b.tar", {"Walk/5.mp4": videos[5]})
    done = petl_bench("data", "scan", "folder", "--data-root", root, "--workers", "1")
    assert "Run/bad.mp4" in done.stdout + done.stderr
    page = tmp_path / "found.html"
    done = petl_bench(
        "search", "--videos", root, "--query", "x", "--format", "html", "--output", page, "--workers", "1"
    )
    assert done.returncode == 0, done.stderr
    assert "left out, cannot be read: Run/bad.mp4" in done.stderr
    text = page.read_text()
    assert text.count("data:image/jpeg") >= 5 and "no picture" not in text
    done = petl_bench("data", "status", "folder", "--data-root", root)
    assert "6 of 6 clips are read in 2 tar shards" in done.stdout + done.stderr
