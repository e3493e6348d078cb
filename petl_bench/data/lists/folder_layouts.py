"""Which folder names a clip's class, and which its side: layouts of class folders, recognised as a whole or not at all.

A layout names the folders above a clip, from the top: `side/class` is `train/Run/a.mp4`. A folder that all clips share
(`videos/Run/a.mp4`, `videos/Walk/b.mp4`) says nothing and is skipped. What could be read in two ways is refused
with both readings and the option that chooses; a layout that the user names is not questioned.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from petl_bench.data.found.tree import Tree
from petl_bench.data.lists.class_folders import first_few
from petl_bench.errors import DataError

#: The layouts that the user can name.
LayoutName = Literal[
    "class", "class/group", "group/class", "side/class", "class/side", "side/class/group", "side/group/class"
]
#: What a side is called, in any letter case, and which side it is.
SIDES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
#: What stands behind or before a side in names such as `train_set`, `TestVideos` or `test2`.
_AROUND_SIDES = frozenset({"set", "list", "split", "data", "videos", "clips", "frames", "raw", "rawframes", "images"})
#: Words that mean a side, and are not taken for one.
_UNREAD_SIDES = frozenset({"trn", "tst", "eval", "evaluation", "trainval", "holdout", "heldout"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
#: The different names of the folders at one depth.
Names = tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """Where a clip lies: its side ("train", "val", "test", or "" in layouts without sides), its class, its group.

    `group` is the path of the clip's group folder, "" in layouts without groups.
    """

    clip: str
    side: str
    class_name: str
    group: str


@dataclass(frozen=True)
class Reading:
    """A layout and where it puts every clip. `unused` are clips outside of all sides, if the user named the layout."""

    layout: str
    placed: tuple[Placed, ...]
    unused: tuple[str, ...] = ()


def side_of(name: str) -> str | None:
    """The side that a folder of this name is: "train", "val" or "test"; None if it is none."""
    return SIDES.get(name.casefold())


def recognise(clips: Sequence[str], told: str, where: Path, owner: str) -> Reading:
    """The one layout that all clips (relative paths) fit, or the one that the user named (`told` is not "auto").

    `where` and `owner` (the data set's name, for `--set owner.layout=...`) are for messages. Raises DataError if there
    is no such layout, or more than one.
    """
    refusing = _Refusal(where, owner, clips)
    folders: list[Sequence[str]] = [clip.split("/")[:-1] for clip in clips]
    _refuse_uneven(folders, clips, refusing)
    if told == "auto" or len(folders[0]) > len(told.split("/")):
        folders = _without_repeats(folders)
    levels = [tuple(dict.fromkeys(names)) for names in zip(*folders, strict=True)]
    layout, kept = _recognised(levels, refusing) if told == "auto" else (told, _told(levels, told, refusing))
    return _reading(layout, kept, folders, refusing)


def looks_like_side(name: str) -> bool:
    """Whether a name is that of a side, or made of one: `train_videos`, `TestSet`, `val2`, `trainval`."""
    words = [word.casefold() for word in _WORD.findall(name)]
    sides = SIDES.keys() | _UNREAD_SIDES
    return any(word in sides for word in words) and all(word in sides | _AROUND_SIDES for word in words)


def refuse_second_paths(tree: Tree) -> None:
    """Raise DataError if clips can be reached by two paths, over a link: which of them gives class and side?

    A link to a folder that it lies in is a loop, and leads to nothing new.
    """
    refuse_one_file_twice(
        tree.root,
        tree.files,
        "its class or side could be taken from either. Remove one, or list the clips in train.csv and test.csv",
    )
    if not tree.linked_again:
        return
    holding = {(tree.root / clip).parent.resolve() for clip in tree.files}
    holding |= {(tree.root / clip).resolve() for clip in tree.frame_folders}
    for link in tree.linked_again:
        target = (tree.root / link).resolve()
        loop = (tree.root / link).parent.resolve().is_relative_to(target)
        if not loop and any(folder.is_relative_to(target) for folder in holding):
            raise DataError(
                f"{tree.root}: {link} is a link to {target}, whose clips are reached by another path too, and their "
                "class or side could be taken from either. Remove one, or list the clips in train.csv and test.csv"
            )


def refuse_shards_as_sides(tree: Tree) -> None:
    """Raise DataError if shards in one place are named after several sides, which are to be drawn from all clips."""
    sides: dict[str, str] = {}
    for shard in dict.fromkeys(tree.shards.values()):
        side = next(filter(None, map(side_of, _WORD.findall(Path(shard).stem))), None)
        if side is not None:
            sides.setdefault(side, shard)
    if len(sides) > 1:
        raise DataError(
            f"{tree.root}: the shards are named after sides ({', '.join(sorted(sides.values()))}), and nothing else "
            "says which clips train; put them into folders called train, val and test"
        )


def refuse_one_file_twice(root: Path, clips: Iterable[str], why: str) -> None:
    """Raise DataError, ending with `why`, if two of the clips (paths below the root) are one file over a link."""
    real_folder = functools.cache(os.path.realpath)
    seen: dict[str, str] = {}
    for clip in clips:
        folder, name = os.path.split(os.path.join(root, clip))  # noqa: PTH118 - hundreds of thousands of files
        path = os.path.join(real_folder(folder), name)  # noqa: PTH118
        other = seen.setdefault(os.path.realpath(path) if os.path.islink(path) else path, clip)  # noqa: PTH114
        if other != clip:
            raise DataError(f"{root}: {other} and {clip} are one file, over a link: {why}")


# ---------------------------------------------------------------- what the folders say


@dataclass(frozen=True)
class _Refusal:
    """Makes the one line that says why no layout was read, and what to do."""

    where: Path
    owner: str
    clips: Sequence[str]

    def __call__(self, why: str, *layouts: str, say: str = "Move what does not belong, or") -> DataError:
        choices = " or ".join(f"--set {self.owner}.layout={layout} ({_MEANINGS[layout]})" for layout in layouts)
        say = f"Say {choices}; or" if layouts else say
        return DataError(f"{self.where}: {why}. {say} list the clips in train.csv and test.csv (docs/folders.md)")


_MEANINGS = {
    "class": "every folder is a class",
    "class/group": "the upper folder is the class, the lower one holds clips of one recording",
    "group/class": "the lower folder is the class, the upper one holds clips of one recording",
    "side/class": "sides above classes",
    "class/side": "classes above sides",
    "side/class/group": "below each side the upper folder is the class",
    "side/group/class": "below each side the lower folder is the class",
}


def _refuse_uneven(folders: Sequence[Sequence[str]], clips: Sequence[str], refusing: _Refusal) -> None:
    """Raise DataError for no clip at all, and for clips at several depths."""
    if not clips:
        raise DataError(
            f"{refusing.where}: 0 folders with videos; one is needed for each class, and two classes at least"
        )
    by_depth = {len(above): clip for above, clip in zip(folders, clips, strict=True)}
    if len(by_depth) > 1 or 0 in by_depth:
        least, most = min(by_depth), max(by_depth)
        if all(len(set(names)) == 1 for names in zip(*folders, strict=False)):
            raise DataError(
                f"{refusing.where}: {by_depth[least]} lies in no class folder and there are no lists that are used; "
                "make one folder per class, or give labels.csv, train.txt and test.txt"
            )
        raise refusing(
            f"some clips lie below {least} folders ({by_depth[least]}) and others below {most} ({by_depth[most]}), so "
            "that no level of folders names the classes of all"
        )


def _without_repeats(folders: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The folders without those that repeat the name above for all clips, as archives leave them: `golf/golf/a.avi`."""
    levels = list(zip(*folders, strict=True))
    kept = [at for at, names in enumerate(levels) if at == 0 or names != levels[at - 1]]
    return [[above[at] for at in kept] for above in folders]


def _recognised(levels: Sequence[Names], refusing: _Refusal) -> tuple[str, list[int]]:
    """The one layout that these levels of folder names fit, and which levels its parts are."""
    for names in levels:
        if len(names) == 1 and side_of(names[0]):
            fitting = [layout for layout in ("class", "side/class", "class/side") if _fits(levels, layout)]
            raise refusing(f"all clips lie in a folder {names[0]!r}, and there is no other side beside it", *fitting)
    kept = [at for at, names in enumerate(levels) if len(names) > 1]
    if not kept:
        raise DataError(
            f"{refusing.where}: 1 folders with videos; one is needed for each class, and two classes at least"
        )
    if len(kept) == 1:
        return _one_level(levels[kept[0]], refusing), kept
    if len(kept) == 2:
        return _two_levels(levels[kept[0]], levels[kept[1]], refusing), kept
    below_sides = len(kept) == 3 and _all_sides(levels[kept[0]])
    raise refusing(
        f"{refusing.clips[0]} lies below {len(kept)} folders that differ from clip to clip, and which of them names "
        "its class is not known",
        *(("side/class/group", "side/group/class") if below_sides else ()),
    )


def _one_level(names: Names, refusing: _Refusal) -> str:
    if all(map(looks_like_side, names)):
        raise refusing(
            f"the folders {first_few(names)} look like sides, and no folder below them names a class", "class"
        )
    _refuse_mixed(names, refusing, "class")
    return "class"


def _two_levels(upper: Names, lower: Names, refusing: _Refusal) -> str:
    if _all_sides(upper) and _all_sides(lower):
        raise refusing(
            f"{first_few(upper)} and below them {first_few(lower)} are named like sides", "side/class", "class/side"
        )
    if _all_sides(upper):
        _refuse_mixed(lower, refusing, "side/class")
        return "side/class"
    if _all_sides(lower):
        _refuse_mixed(upper, refusing, "class/side")
        return "class/side"
    _refuse_nearly_sides(upper, refusing)
    _refuse_nearly_sides(lower, refusing)
    _refuse_mixed(upper, refusing, "side/class", *(() if _several_sides(upper) else ("group/class", "class/group")))
    _refuse_mixed(lower, refusing, "class/side", *(() if _several_sides(lower) else ("class/group", "group/class")))
    raise refusing(
        f"{refusing.clips[0]} lies below two folders of different names, either of which could be its class",
        "class/group",
        "group/class",
    )


def _refuse_nearly_sides(names: Names, refusing: _Refusal) -> None:
    """Raise DataError for several folders that mean sides and are called otherwise: as groups, they would be mixed."""
    meant = {name for name in names if looks_like_side(name)}
    if len(meant) > 1 and not all(map(side_of, meant)):
        raise refusing(f"the folders {first_few(meant)} look like sides", say="Call them train, val and test; or")


def _several_sides(names: Names) -> bool:
    return len({side_of(name) for name in names} - {None}) > 1


def _refuse_mixed(names: Names, refusing: _Refusal, *layouts: str) -> None:
    """Raise DataError if a side lies among folders that are none."""
    sides = {name for name in names if side_of(name)}
    if sides:
        raise refusing(
            f"the folders {first_few(sides)} are named like sides, and {first_few(set(names) - sides)} are not",
            *layouts,
        )


def _all_sides(names: Names) -> bool:
    return all(side_of(name) for name in names)


# ---------------------------------------------------------------- what the user says


def _told(levels: Sequence[Names], layout: str, refusing: _Refusal) -> list[int]:
    """Which levels the parts of a named layout are. Raises DataError if there are not as many."""
    count = len(layout.split("/"))
    kept = _levels_for(levels, count)
    if kept is None:
        raise DataError(
            f"{refusing.where}: {refusing.owner}.layout={layout} takes {count} folders above each clip, and "
            f"{refusing.clips[0]} lies below {len(levels)}; another layout: petl-bench show {refusing.owner}"
        )
    return kept


def _levels_for(levels: Sequence[Names], count: int) -> list[int] | None:
    """So many levels, first passing over those that are one folder for all clips, from the top; None if not so."""
    kept = list(range(len(levels)))
    for at, names in enumerate(levels):
        if len(kept) > count and len(names) == 1:
            kept.remove(at)
    return kept if len(kept) == count else None


def _fits(levels: Sequence[Names], layout: str) -> bool:
    """Whether these levels could be read so: sides are sides, and there are two of each part."""
    parts = layout.split("/")
    kept = _levels_for(levels, len(parts))
    return kept is not None and all(
        len(levels[at]) > 1 and (part != "side" or _all_sides(levels[at])) for at, part in zip(kept, parts, strict=True)
    )


# ---------------------------------------------------------------- where each clip lies


def _reading(layout: str, kept: Sequence[int], folders: Sequence[Sequence[str]], refusing: _Refusal) -> Reading:
    place = dict(zip(layout.split("/"), kept, strict=True))
    if "side" in place:
        _refuse_doubled_sides([above[: place["side"] + 1] for above in folders], refusing)
    placed, unused = [], []
    for above, clip in zip(folders, refusing.clips, strict=True):
        side = side_of(above[place["side"]]) if "side" in place else ""
        if side is None:
            unused.append(clip)
        else:
            placed.append(Placed(clip, side, above[place["class"]], _group(above, place)))
    return Reading(layout, tuple(placed), tuple(unused))


def _group(above: Sequence[str], place: Mapping[str, int]) -> str:
    """A group that lies in a class is named with it, for other classes may count their groups alike."""
    if "group" not in place:
        return ""
    group = above[place["group"]]
    return f"{above[place['class']]}/{group}" if place["class"] < place["group"] else group


def _refuse_doubled_sides(paths: Iterable[Sequence[str]], refusing: _Refusal) -> None:
    """Raise DataError if two folders beside each other are the same side, as `val` and `validation`."""
    seen: dict[tuple[str, ...], str] = {}
    for *above, name in paths:
        other = seen.setdefault((*above, side_of(name) or name), name)
        if other != name:
            first, second = ("/".join([*above, folder]) for folder in (other, name))
            raise DataError(
                f"{refusing.where}: {first} and {second} are the same side; put their clips together in one folder"
            )
