"""Captions of one's own folder: captions.csv or captions.json, and lists that name clips without labels."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.retrieval import unused_captions
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList
from petl_bench.data.lists.caption_formats import (
    pickle_error,
    read_caption_csv,
    read_caption_json,
    read_clip_column,
    read_names,
)
from petl_bench.data.lists.class_folders import first_few
from petl_bench.data.lists.drawn_split import rank
from petl_bench.data.lists.folder_layouts import side_of
from petl_bench.data.lists.own_lists import FolderClips
from petl_bench.errors import DataError
from petl_bench.system.words import several

#: What a file of captions is called.
CAPTION_FILES = ("captions.csv", "captions.json")
_PICKLES = ("captions.pkl", "captions.pickle", "raw-captions.pkl")


def find_captions(root: Path, field: str) -> Path | None:
    """The file of captions in a folder; `field` is the option that names one. Raises DataError if there are two."""
    found = [root / name for name in CAPTION_FILES if os.path.lexists(root / name)]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise DataError(f"{root}: {names} are both there; remove one, or choose with {field}={found[0].name}")
    return found[0] if found else None


def refuse_pickle(root: Path) -> None:
    """Raise DataError if a folder has its captions in a pickle."""
    for name in _PICKLES:
        if (root / name).is_file():
            raise pickle_error(root / name)


class OwnCaptions:
    """The captions in a file, by the clips of the folder that it names.

    A clip is named by its path from the folder, or by as much of its end as is needed, with or without its extension.

    Raises DataError for a name that several clips have, and what the readers raise.
    """

    def __init__(self, file: Path, clips: FolderClips) -> None:
        if not file.is_file():
            raise DataError(
                f"{file}: not a file (a folder, a pipe or a link to nothing); put captions there, or remove it"
            )
        self.file, self._clips = file, clips
        self.files: tuple[Path, ...] = (file,)
        read = read_caption_csv(file) if file.suffix.lower() == ".csv" else read_caption_json(file)
        self._texts: dict[str, tuple[str, ...]] = {}
        self._places: dict[str, str] = {}
        for name, texts in read.captions.items():
            clip = self.clip_of(name, read.places[name])
            self._texts[clip] = (*self._texts.get(clip, ()), *texts)
            self._places.setdefault(clip, read.places[name])

    def clip_of(self, name: str, where: str) -> str:
        """The file of the folder that a name means; the name itself if there is none."""
        if name in self._clips.files:
            return name
        called = next(filter(None, map(self._clips.ending_in, _spellings(name))), [])
        if len(called) > 1:
            raise DataError(f"{where}: several clips are called {name!r} ({first_few(called)}); write the path of one")
        return called[0] if called else name

    def refuse_without_video(self, listed: Iterable[str] = ()) -> None:
        """Raise DataError if a caption's clip is no file of the folder, and none of those that lists name."""
        known = {*self._clips.files, *listed}
        for clip, place in self._places.items():
            if clip not in known:
                raise DataError(
                    f"{place}: a caption of {clip!r}, and no clip of the folder has this name; correct it, add the "
                    "video, or remove the caption"
                )

    def of_every(self, clips: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The captions of these clips. Raises DataError for a clip without one."""
        used = list(clips)
        if lacking := [clip for clip in used if clip not in self._texts]:
            which = f"the clip {lacking[0]!r}" if len(lacking) == 1 else f"{len(lacking):,} clips, e.g. {lacking[0]!r}"
            raise DataError(
                f"{self.file}: no caption of {which}; write captions, move such videos out of the folder, or list the "
                "clips that are used in train.txt and test.txt"
            )
        return {clip: self._texts[clip] for clip in used}

    def of_listed(self, clips: ClipList) -> dict[str, tuple[str, ...]]:
        """The captions of a list's clips. Raises DataError for a clip without one, or that stands there twice."""
        found: dict[str, tuple[str, ...]] = {}
        for row in clips.rows:
            where = f"{clips.file}, line {row.line}"
            clip = self.clip_of(row.clip, where)
            if clip not in self._texts:
                raise DataError(
                    f"{where}: {row.clip!r} has no caption in {self.file.name}; add one, or remove the line"
                )
            if clip in found:
                raise DataError(f"{where}: {row.clip!r} names the clip {clip!r}, which stands in an earlier line too")
            found[clip] = self._texts[clip]
        return found

    def added_to(self, found: Annotations, root: Path) -> Annotations:
        """A labelled folder's annotations with the captions of its clips, and a note on clips that have none.

        Raises DataError for captions of clips that are not there.
        """
        lists = (*found.train.values(), *found.test.values())
        names = dict.fromkeys(sample.clip for samples in lists for sample in samples)
        clips = {name: self.clip_of(name, str(self.file)) for name in names}
        self.refuse_without_video(clips.values())
        captions = {name: self._texts[clip] for name, clip in clips.items() if clip in self._texts}
        lacking = [name for name in names if name not in captions]
        without = (
            f"without a caption, and left out of retrieval: {several(len(lacking), 'clip')}, e.g. {lacking[0]}"
            if lacking
            else ""
        )
        return replace(
            found,
            captions=captions,
            files={**found.files, **formats.sha256_of(self.files, root)},
            notes=(*found.notes, self.note_on(captions), *([without] if without else [])),
        )

    def note_on(self, captions: Mapping[str, Sequence[str]]) -> str:
        """What was read."""
        texts = sum(map(len, captions.values()))
        return f"captions read: {self.file.name} ({several(texts, 'caption')} of {several(len(captions), 'clip')})"

    def of(self, clip: str) -> tuple[str, ...]:
        """The captions of a clip that is written as its file, or as in their own file; none if it has none."""
        return self._texts.get(clip, ())


class CaptionsBeside(OwnCaptions):
    """Captions that lie beside the videos (see texts_beside.py), by clip."""

    def __init__(self, texts: Mapping[str, tuple[str, ...]], root: Path, clips: FolderClips) -> None:
        self.file, self._clips = root / "*.txt", clips
        self.files = ()
        self._texts, self._places = dict(texts), dict.fromkeys(texts, str(root))


def is_bare_list(file: Path, clips: FolderClips, captions: OwnCaptions | None) -> bool:
    """Whether most lines of a list are names of clips, which have a file or a caption, and nothing else."""
    try:
        rows = read_bare_list(file).rows
    except DataError:
        return False
    naming = sum(
        any(map(clips.named_by, _spellings(row.clip))) or bool(captions and captions.of(row.clip)) for row in rows
    )
    return 2 * naming > len(rows)


def read_bare_list(file: Path) -> ClipList:
    """A list that names a clip in each line, or in the one column of a csv file."""
    return read_clip_column(file) if file.suffix.lower() == ".csv" else read_names(file)


def _spellings(name: str) -> list[str]:
    """A name as it is written, and with its accents in either of the two ways that file systems store them."""
    return [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD") if not name.isascii())]


def without_captions(found: Annotations, reason: DataError, root: Path) -> Annotations:
    """A labelled folder's annotations, with a note why its captions cannot be used."""
    why = str(reason).removeprefix(f"{root}: ").replace(f"{root}/", "")
    return replace(found, notes=(*found.notes, unused_captions(why)))


def captioned_lists(
    captions: OwnCaptions, train: Path, test: Path, root: Path, notes: Iterable[str] = ()
) -> Annotations:
    """A folder without classes whose lists say which clips train and which are tested; `notes` are on other lists."""
    lists = [read_bare_list(file) for file in (train, test)]
    sides = [captions.of_listed(each) for each in lists]
    captions.refuse_without_video(clip for side in sides for clip in side)
    note = f"read from lists: {train.name} trains, {test.name} is tested; no classes"
    return _annotations(captions, sides, [train, test], root, [note, *notes])


def captioned_folder(
    captions: OwnCaptions, clips: Sequence[str], test_side: str, fraction: float, seed: int, root: Path
) -> Annotations:
    """A folder without classes and lists: sides from its folders, else a part of the clips that is drawn by a seed.

    `test_side` is that of the options: "auto", "val" or "test".
    """
    captions.refuse_without_video()
    by_side = _sides(clips, root)
    if by_side:
        tested = ("test" if "test" in by_side else "val") if test_side == "auto" else test_side
        if not {"train", tested} <= by_side.keys():
            raise DataError(
                f"{root}: clips lie in folders of the sides {', '.join(sorted(by_side))} alone; call the folders train "
                "and test, or list the clips in train.txt and test.txt"
            )
        chosen = [by_side["train"], by_side[tested]]
        notes = [f"no lists: trains on the folder train, tests on the folder {tested}; no classes"]
        notes += [
            f"not used: {several(len(of), 'clip')} of the side {side}"
            for side, of in by_side.items()
            if of not in chosen
        ]
    else:
        chosen = list(_drawn(clips, fraction, seed, root))
        notes = [f"no lists: {fraction:g} of the clips are tested, drawn with seed {seed}; no classes"]
        if any("/" in clip for clip in clips):
            notes.append("the folders are no layout of classes, and are not read as such; option layout names one")
    texts = captions.of_every(clip for side in chosen for clip in side)
    return _annotations(captions, [{clip: texts[clip] for clip in side} for side in chosen], [], root, notes)


def _sides(clips: Sequence[str], root: Path) -> dict[str, list[str]]:
    """The clips by the side that one folder above each of them names; empty if none does."""
    found: dict[str, list[str]] = {}
    for clip in clips:
        sides = {side for folder in clip.split("/")[:-1] if (side := side_of(folder))}
        found.setdefault(sides.pop() if len(sides) == 1 else "", []).append(clip)
    if found.keys() - {""} and "" in found:
        raise DataError(
            f"{root}: {found[''][0]} lies in no folder of a side, and others lie in folders such as train or test; "
            "move it, or list the clips in train.txt and test.txt"
        )
    return {} if "" in found else found


def _drawn(clips: Sequence[str], fraction: float, seed: int, root: Path) -> Iterator[list[str]]:
    """Training and test clips, one of each at least."""
    if len(clips) < 2:
        raise DataError(f"{root}: {several(len(clips), 'clip')} with captions; two are needed, to train and to test")
    ranked = sorted(clips, key=lambda clip: rank(seed, clip))
    tested = set(ranked[: min(max(round(fraction * len(clips)), 1), len(clips) - 1)])
    yield [clip for clip in clips if clip not in tested]
    yield [clip for clip in clips if clip in tested]


def _annotations(
    captions: OwnCaptions,
    sides: Sequence[dict[str, tuple[str, ...]]],
    files: Sequence[Path],
    root: Path,
    notes: Sequence[str],
) -> Annotations:
    train, test = (tuple(Sample(clip, 0) for clip in side) for side in sides)
    names = [file.name for file in files] or ["train", "test"]
    formats.refuse_overlap({names[0]: train}, {names[1]: test})
    together = {clip: texts for side in sides for clip, texts in side.items()}
    return Annotations(
        classes=(),
        train={1: train},
        test={1: test},
        captions=together,
        files=formats.sha256_of([*captions.files, *files], root),
        notes=(*notes, captions.note_on(together)),
    )
