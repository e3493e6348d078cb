"""Which files on disk are the clips that lists name.

A list's name for a clip and a file's path fit if they end alike, whatever stands before: flat folders, class folders,
`train/`-like prefixes on either side, other letter case and re-encoded files all work. The best fit counts:

1. the same path;
2. a path that ends in all of the clip's name, as the folder of the lists lies deeper in the root;
3. a clip's name that ends in all of the path, as the root lacks some of the list's folders: the longer the better;
4. they differ further up: the more folders agree, the better;
5. the file's name alone.

A file belongs to the clip whose name fits it best, and never serves another one: if `s1/walk.mp4` is listed and absent,
it is missing, however many other files are called `walk.mp4`. If several files fit equally well, or several clips
fit a file equally well, the answer is "ambiguous", never a guess.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from petl_bench.api.dataset import Sample
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree, canonical


@dataclass(frozen=True)
class FileMatch:
    """The files that fit a clip best: none (missing), one, or several (one clip only if their content is equal).

    `contested`: they fit another clip just as well. `frames_beside` are frame folders of the same clip, left aside
    because there is a video file.
    """

    files: tuple[str, ...]
    contested: bool = False
    frames_beside: tuple[str, ...] = ()


def match_clips(
    tree: Tree,
    lists: Iterable[Sequence[Sample]],
    classes: Sequence[str],
    identity: Callable[[str], str] = str.casefold,
) -> dict[str, FileMatch]:
    """Match every clip that the lists name with the files of a tree.

    A file in a folder named after another class than the clip's folder is never the clip. A clip may stand in several
    lists, under longer and shorter names; two names in one list, or with different labels, are two clips.

    Args:
        tree: The files.
        lists: All lists of the data set.
        classes: Names of its classes.
        identity: The data set's (see `Dataset.identity`): only files whose identity equals the clip's can be it.

    Returns:
        The match of every clip, in the order of the lists.
    """
    mentions = _mentions(lists)
    named = {canonical(name) for name in classes}
    clips = _grouped(mentions, identity)
    files = _grouped(tree.files, identity)
    matches = {}
    for key, group in clips.items():
        there = files.get(key, [])
        if len(group) == len(there) == 1:  # nearly every clip, and quickly
            matches[group[0]] = _only(group[0], there[0], named)
        elif there:
            matches |= _Group(key, group, there, tree.frame_folders, mentions, named).matches()
    return {clip: matches.get(clip, FileMatch(())) for clip in mentions}


@dataclass
class _Mentions:
    """Where a clip stands: its labels, and a bit for each list."""

    labels: set[int]
    lists: int = 0


def _mentions(lists: Iterable[Sequence[Sample]]) -> dict[str, _Mentions]:
    mentions: dict[str, _Mentions] = {}
    for number, samples in enumerate(lists):
        for sample in samples:
            mention = mentions.setdefault(sample.clip, _Mentions(set()))
            mention.labels.add(sample.label)
            mention.lists |= 1 << number
    return mentions


def _only(clip: str, file: str, classes: set[str]) -> FileMatch:
    barred = not f"/{file}".endswith(f"/{clip}") and _of_another_class(clip, file, classes)
    return FileMatch(() if barred else (file,))


# ---------------------------------------------------------------- names that end alike

#: How well a clip's name and a file's path fit, the larger the better: the kind of fit (the first four above), how many
#: of their last parts agree, and how exactly.
_Rank = tuple[int, int, int]
_SAME, _IN_PATH, _IN_NAME, _FURTHER_UP = 4, 3, 2, 1


class _Ends:
    """Paths of one identity, to be found by how they end. Folders are compared without letter case."""

    def __init__(self, paths: Sequence[str], identity: str) -> None:
        self.paths = paths
        self._identity = identity
        self._whole: dict[str, list[str]] = {}
        self._by_end: dict[str, list[str]] = {}
        for path in paths:
            ends = self.of(path)
            self._whole.setdefault(ends[0], []).append(path)
            for end in ends:
                self._by_end.setdefault(end, []).append(path)

    def of(self, path: str) -> list[str]:
        """All ends of a path, the longest first, the clip's identity alone last."""
        folders = _normalised(path).casefold().split("/")[:-1]
        parts = [*folders, self._identity]
        return ["/".join(parts[start:]) for start in range(len(parts))]

    def shorter(self, path: str) -> list[str]:
        """The paths that are an end of `path`, the longest first."""
        return [other for end in self.of(path)[1:] for other in self._whole.get(end, ())]

    def fitting_clip(self, clip: str) -> Iterator[tuple[_Rank, list[str]]]:
        """Of these files, those that fit the clip by more than its identity: the best first, equal ones together."""
        whole, *ends = self.of(clip)
        return self._fitting(
            clip,
            [(_IN_PATH, self._by_end, [whole]), (_IN_NAME, self._whole, ends), (_FURTHER_UP, self._by_end, ends[:-1])],
        )

    def fitting_file(self, file: str) -> Iterator[tuple[_Rank, list[str]]]:
        """Of these clips, those that fit the file by more than their identity: the best first, equal ones together."""
        whole, *ends = self.of(file)
        return self._fitting(
            file,
            [
                (_IN_PATH, self._whole, [whole, *ends]),
                (_IN_NAME, self._by_end, [whole]),
                (_FURTHER_UP, self._by_end, ends[:-1]),
            ],
        )

    def _fitting(
        self, path: str, stages: Sequence[tuple[int, Mapping[str, list[str]], list[str]]]
    ) -> Iterator[tuple[_Rank, list[str]]]:
        taken: set[str] = set()
        for kind, index, ends in stages:
            for end in ends:
                new = [other for other in index.get(end, ()) if other not in taken]
                taken.update(new)
                yield from _by_letters(path, new, kind, end.count("/") + 1)


def _by_letters(path: str, others: Sequence[str], kind: int, parts: int) -> Iterator[tuple[_Rank, list[str]]]:
    ranks: dict[_Rank, list[str]] = {}
    for other in others:
        rank = (_SAME, parts, 2) if other == path else (kind, parts, _letters(path, other, parts))
        ranks.setdefault(rank, []).append(other)
    yield from sorted(ranks.items(), reverse=True)


def _letters(one: str, two: str, parts: int) -> int:
    """2: the last parts are the same to the letter; 1: the names are but for extension and case; 0: they are not."""
    if one.split("/")[-parts:] == two.split("/")[-parts:]:
        return 2
    return int(_stem(one).casefold() == _stem(two).casefold())


# ---------------------------------------------------------------- clips and files of one identity


class _Group:
    """Clips and files of one identity."""

    def __init__(
        self,
        identity: str,
        clips: Sequence[str],
        files: Sequence[str],
        frame_folders: frozenset[str],
        mentions: Mapping[str, _Mentions],
        classes: set[str],
    ) -> None:
        self._clips = _Ends(clips, identity)
        self._mentions = mentions
        videos = [path for path in files if path not in frame_folders]
        frames = [path for path in files if path in frame_folders]
        self._videos = _Pool(_Ends(videos, identity), self._clips, self._differ, classes)
        self._frames = _Pool(_Ends(frames, identity), self._clips, self._differ, classes)

    def matches(self) -> dict[str, FileMatch]:
        """The match of every clip."""
        fits, beside = {}, {}
        for clip in self._clips.paths:
            videos, frames = self._videos.best(clip), self._frames.best(clip)
            # A video goes before frames, unless they fit by all of the clip's path, and it does not.
            first = frames if not videos.files or (frames.whole and not videos.whole) else videos
            fits[clip], beside[clip] = first, frames.files if first is videos else ()
        claims = self._claims(fits)
        return {
            clip: FileMatch(fit.files, self._is_contested(clip, fit, claims), beside[clip])
            for clip, fit in fits.items()
        }

    def _claims(self, fits: Mapping[str, _Fit]) -> dict[tuple[_Pool, str], list[str]]:
        """The clips that are to have a file, by the file; those that fit by name alone, by the class of their folder.

        (Each of a thousand clips may fit each of a thousand files by name alone.)
        """
        claims: dict[tuple[_Pool, str], list[str]] = {}
        for clip, fit in fits.items():
            for place in (f"class {fit.pool.class_of(clip)}",) if fit.by_name else fit.files:
                claims.setdefault((fit.pool, place), []).append(clip)
        return claims

    def _is_contested(self, clip: str, fit: _Fit, claims: Mapping[tuple[_Pool, str], list[str]]) -> bool:
        if not fit.files:
            return False
        places = (f"class {name}" for name in fit.pool.rivals(clip)) if fit.by_name else iter(fit.files)
        return any(self._differ(clip, other) for place in places for other in claims.get((fit.pool, place), ()))

    def _differ(self, one: str, two: str) -> bool:
        """Whether two names mean different clips."""
        if one == two:
            return False
        first, second = self._mentions[one], self._mentions[two]
        if first.labels != second.labels or first.lists & second.lists:
            return True
        short, long = sorted((self._clips.of(one)[0], self._clips.of(two)[0]), key=len)
        return not f"/{long}".endswith(f"/{short}")


class _Pool:
    """The videos of one identity, or its frame folders."""

    def __init__(self, files: _Ends, clips: _Ends, differ: Callable[[str, str], bool], classes: set[str]) -> None:
        self._files = files
        self._clips = clips
        self._differ = differ
        self._classes = classes
        self._claims = {file: list(clips.fitting_file(file)) for file in files.paths}
        #: Files that fit no clip by more than the name, by the class of their folder ("": it is named after none).
        self._free: dict[str, list[str]] = {}
        for file, claims in self._claims.items():
            if not claims:
                self._free.setdefault(self.class_of(file), []).append(file)
        self._named: dict[tuple[str, str], tuple[str, ...]] = {}

    def best(self, clip: str) -> _Fit:
        """The files that fit the clip best, of those that fit no other clip better.

        What fits a shorter name of the same clip, in another list, fits it as well.
        """
        if not self._files.paths:
            return _Fit(self, (), by_name=True)
        for name in (clip, *(name for name in self._clips.shorter(clip) if not self._differ(clip, name))):
            for rank, files in self._files.fitting_clip(name):
                own = tuple(
                    file for file in files if not self._is_anothers(file, name, rank) and self._may_be(clip, file)
                )
                if own:
                    return _Fit(self, own, whole=name == clip and _is_whole(rank))
        return _Fit(self, self._by_name(clip), by_name=True)

    def class_of(self, path: str) -> str:
        """The class that the path's folder is named after; "" for none."""
        folder = canonical(_folder_name(path))
        return folder if folder in self._classes else ""

    def rivals(self, clip: str) -> Iterable[str]:
        """Clips in folders of these classes may fit the same files by name as this clip does."""
        own = self.class_of(clip)
        return (own, "") if own and not self._free.get("") else ("", own, *self._classes)

    def _may_be(self, clip: str, file: str) -> bool:
        return not _of_another_class(clip, file, self._classes)

    def _is_anothers(self, file: str, clip: str, rank: _Rank) -> bool:
        """Whether the file fits a different clip better."""
        better = takewhile(lambda claim: _strength(claim[0]) > _strength(rank), self._claims[file])
        return any(self._differ(clip, other) for _, others in better for other in others)

    def _by_name(self, clip: str) -> tuple[str, ...]:
        """The files that fit no clip by more than the name; of those, the ones with the same extension, if any."""
        own, name = self.class_of(clip), _base_name(clip)
        if (own, name) not in self._named:
            folders = {own, ""} if own else self._free.keys()
            files = sorted(file for folder in folders for file in self._free.get(folder, ()))
            same = tuple(file for file in files if _base_name(file) == name)
            self._named[own, name] = same or tuple(files)
        return self._named[own, name]


@dataclass(frozen=True)
class _Fit:
    """The files of a pool that fit a clip best. `whole`: all of the clip's path is the end of theirs."""

    pool: _Pool
    files: tuple[str, ...]
    by_name: bool = False
    whole: bool = False


def _strength(rank: _Rank) -> _Rank:
    """What counts between clips: an extension or letter case makes no claim to a file of which only the end fits."""
    kind, parts, letters = rank
    return kind, parts, letters if kind >= _IN_PATH else 0


def _is_whole(rank: _Rank) -> bool:
    kind, _, letters = rank
    return kind >= _IN_PATH and letters > 0


# ---------------------------------------------------------------- paths


def _of_another_class(clip: str, file: str, classes: set[str]) -> bool:
    wanted, there = canonical(_folder_name(clip)), canonical(_folder_name(file))
    return wanted != there and wanted in classes and there in classes


def _grouped(paths: Iterable[str], identity: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(identity(_stem(path)), []).append(path)
    return groups


def _stem(path: str) -> str:
    """The name without folders and video extension."""
    return _normalised(clip_stem(path))


def _normalised(text: str) -> str:
    """With composed letters: macOS writes decomposed names."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]


def _folder_name(path: str) -> str:
    """The name of the folder that holds `path`; empty at the root."""
    return path.rpartition("/")[0].rpartition("/")[2]
