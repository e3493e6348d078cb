"""What lies under a data root: every entry is counted once, by its kind, so that nothing is left out without a word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from petl_bench.system.words import several

#: The kinds of entries, in the order in which they are reported, and their meanings.
KINDS = {
    "videos": "video files",
    "frame_folders": "folders of numbered images, each one clip",
    "frames": "images in them",
    "folders": "other folders",
    "shards": "tar shards, whose members count here too",
    "members": "members of shards that are no videos",
    "lists": "files that may be lists (.csv, .json, .txt)",
    "images": "images that are part of no clip",
    "other_files": "files that are not read",
    "hidden": "names that begin with a dot; not looked into",
    "seen_already": "links to folders that were read by another path",
    "broken_links": "links to nothing",
    "link_loops": "links that lead back to themselves",
    "special": "sockets, pipes and devices",
    "unreadable": "what the system refuses to show, and names that are not UTF-8",
}

#: What is no file, and may have the name of one.
NO_FILES = {"broken_links": "a link to nothing", "link_loops": "a link back to itself", "special": "no regular file"}

#: Tar archives whose members cannot be read in place, and what undoes the compression.
_COMPRESSED = {
    **dict.fromkeys((".tar.gz", ".tgz"), "gzip -d"),
    **dict.fromkeys((".tar.zst", ".tzst"), "zstd -d"),
    **dict.fromkeys((".tar.xz", ".txz"), "xz -d"),
    **dict.fromkeys((".tar.bz2", ".tbz2"), "bzip2 -d"),
}

#: Extensions (and names without) of files that are certainly no clips. What is neither here nor read may be one.
_NO_CLIPS = frozenset(
    """
    .bat .bib .c .cc .cfg .cls .conf .cpp .css .csv .cu .doc .docx .h .hpp .htm .html .in .ini .ipynb .java .jl .js
    .json .jsonl .lock .log .lua .m .md .odt .pdf .php .pl .ppt .pptx .ps1 .py .pyc .r .rb .rs .rst .rtf .sh .sql .svg
    .tex .toml .tsv .txt .url .xls .xlsx .xml .yaml .yml

    .7z .arrow .bz2 .ckpt .db .feather .flo .gz .h5 .hdf5 .jar .joblib .lmdb .mat .md5 .mdb .npy .npz .onnx .parquet
    .pickle .pkl .pt .pth .rar .safetensors .sha1 .sha256 .sig .sqlite .sqlite3 .tar .tbz2 .tfrecord .tgz .torrent .txz
    .whl .xz .zip .zst

    .aac .ass .flac .m4a .mp3 .opus .srt .sub .vtt .wav .wma

    authors changelog citation copying dockerfile licence license makefile md5sums notice readme sha1sums sha256sums
    version
    """.split()  # noqa: SIM905 - many short words
)


@dataclass(frozen=True)
class Counted:
    """How many there are of a kind, and the first of them as an example."""

    count: int
    example: str


@dataclass(frozen=True)
class Entries:
    """Every entry under a root. The counts of `kinds` (see `KINDS`) add up to `total`.

    `other_files` are counted by extension in lower case. `image_folders` hold images alone, of which none is numbered
    as frames are. `outside` are links that lead out of the root, and are followed. `compressed` are tar archives with
    compression, `shards_left` those without it that lie beside unpacked clips: none are read. `unreadable` maps what
    cannot be read to the reason.
    """

    total: int = 0
    kinds: Mapping[str, Counted] = field(default_factory=dict)
    other_files: Mapping[str, Counted] = field(default_factory=dict)
    image_folders: Counted | None = None
    outside: Counted | None = None
    compressed: Counted | None = None
    shards_left: Counted | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        """How many entries are of that kind."""
        return self.kinds[kind].count if kind in self.kinds else 0

    @property
    def perhaps_clips(self) -> dict[str, Counted]:
        """What is not read and may be clips: files by their extension, and folders of images."""
        found = {
            extension or "no extension": some
            for extension, some in self.other_files.items()
            if extension not in _NO_CLIPS
        }
        if self.image_folders is not None:
            found["folders of images that are not numbered as frames"] = self.image_folders
        return found


def compressed_words(entries: Entries) -> str:
    """What is said of tar archives with compression; "" if there are none."""
    some = entries.compressed
    if some is None:
        return ""
    return (
        f"{several(some.count, 'compressed tar archive')} cannot be read in place, e.g. {some.example}; undo the "
        f"compression: {undo_compression(some.example)}"
    )


def shards_left_words(entries: Entries) -> str:
    """What is said of tar archives beside unpacked clips; "" if there are none."""
    some = entries.shards_left
    if some is None:
        return ""
    return (
        f"{several(some.count, 'tar archive')} not read, e.g. {some.example}: "
        "shards are read only if no video lies unpacked under the root"
    )


def folder_notes(entries: Entries) -> list[str]:
    """What a command says of a folder of videos: links that lead out of it, and archives that are not read."""
    outside = entries.outside
    followed = (
        f"links that lead out of the folder, and are followed: {outside.count:,}; the first: {outside.example}"
        if outside is not None
        else ""
    )
    return [words for words in (followed, compressed_words(entries), shards_left_words(entries)) if words]


def undo_compression(path: str) -> str:
    """The command that makes a tar shard of a compressed archive; "" for any other file."""
    lower = path.lower()
    return next((f"{tool} {path}" for suffix, tool in _COMPRESSED.items() if lower.endswith(suffix)), "")


def extension(name: str) -> str:
    """What files are counted by: the extension in lower case; a name that says enough without (`readme`); or ""."""
    _, dot, suffix = name.rpartition(".")
    if dot:
        return f".{suffix.lower()}"
    return name.lower() if name.lower() in _NO_CLIPS else ""


class Tally:
    """Counts things by name, and keeps the first example of each."""

    def __init__(self) -> None:
        self._seen: dict[str, Counted] = {}

    def add(self, name: str, example: str, count: int = 1) -> None:
        """Count some more."""
        seen = self._seen.get(name)
        if seen is None:
            self._seen[name] = Counted(count, example)
        else:
            self._seen[name] = Counted(seen.count + count, min(seen.example, example))

    def counted(self) -> dict[str, Counted]:
        """All of them, the most frequent first."""
        return dict(sorted(self._seen.items(), key=lambda item: (-item[1].count, item[0])))
