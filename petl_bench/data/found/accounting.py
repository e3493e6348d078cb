"""The account of a data root: every entry under it, and the use of every clip that was found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from petl_bench.data.found.clip_matching import FileMatch
from petl_bench.data.found.entries import Counted, Entries, Tally, compressed_words, shards_left_words
from petl_bench.data.found.tree import Tree

#: The uses of clips on disk, and what each means.
USES = {
    "used": "files of clips that the lists name",
    "copies": "files of equal content beside a used one",
    "frames_beside": "frame folders of clips that have a video file, which is used",
    "ambiguous": "files that fit a clip as well as others do; not used",
    "unreadable": "files of listed clips that the system refuses to read",
    "in_no_list": "clips that no list names",
}
#: Kinds of clips that may be there and are not read that a note names.
_NAMED = 5


@dataclass(frozen=True)
class Account:
    """`entries` under the root, and the clips among them by their use (see `USES`), which add up to all clips seen."""

    entries: Entries = field(default_factory=Entries)
    clips: Mapping[str, Counted] = field(default_factory=dict)

    @property
    def used(self) -> int:
        """How many clips on disk are used."""
        return self.clips["used"].count if "used" in self.clips else 0

    @property
    def seen(self) -> int:
        """How many clips are on disk: video files and folders of numbered images."""
        return sum(some.count for some in self.clips.values())

    @property
    def unknown(self) -> int:
        """How many files and folders more may be clips, of kinds that are not read."""
        return sum(some.count for some in self.entries.perhaps_clips.values())

    def warnings(self) -> Iterator[str]:
        """Warnings of data that may be there and is not used."""
        perhaps = self.entries.perhaps_clips
        if perhaps:
            named = [f"{some.count:,} {name} (e.g. {some.example})" for name, some in list(perhaps.items())[:_NAMED]]
            more = f" and {len(perhaps) - _NAMED} kinds more" if len(perhaps) > _NAMED else ""
            yield (
                f"{self.unknown:,} of {self.seen + self.unknown:,} things that may be clips are of kinds that are "
                f"not read, and are left out: {', '.join(named)}{more}"
            )
        yield from filter(None, (compressed_words(self.entries), shards_left_words(self.entries)))
        for kind, what in (("broken_links", "lead to nothing"), ("link_loops", "lead back to themselves")):
            if self.entries.count(kind):
                some = self.entries.kinds[kind]
                yield f"{some.count:,} links {what}, and count as nothing else, e.g. {some.example}"


def account_of(
    tree: Tree,
    matches: Mapping[str, FileMatch],
    used: Collection[str],
    ambiguous: Collection[str],
    refused: Collection[str],
) -> Account:
    """The account of a tree whose clips were matched; `used` are the files of found clips, `ambiguous` and `refused`
    those that are not used for that reason, all as paths below the root."""
    copies = {file for match in matches.values() for file in match.files}
    beside = {file for match in matches.values() for file in match.frames_beside}
    tally = Tally()
    for file in tree.files:
        for use, files in (("used", used), ("unreadable", refused), ("ambiguous", ambiguous), ("copies", copies),
                           ("frames_beside", beside)):  # fmt: skip
            if file in files:
                tally.add(use, file)
                break
        else:
            tally.add("in_no_list", file)
    counted = tally.counted()
    return Account(tree.entries, {use: counted[use] for use in USES if use in counted})
