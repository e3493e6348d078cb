"""The clips that every run misses, some of them with a picture."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petl_bench.page.evaluations import LISTED, MissedClip, MissedClips

if TYPE_CHECKING:
    import pandas as pd

#: A frame of a clip as JPEG, or the reason why there is none; given `dataset`, `dataset_plugin`, `dataset_options`,
#: `locations` and `manifest_sha256` of a trial (texts as in a frame of records), and the name of the clip.
Thumbnail = Callable[[Mapping[str, Any], str], bytes | str]

_OF_DATA = ["dataset", "dataset_plugin", "dataset_options", "locations", "manifest_sha256"]
#: Clips with a picture on the whole page.
_PICTURES = 24


@dataclass(frozen=True)
class Picture:
    """A missed clip with its frame as a data address; "" if there is none, for the `reason`."""

    missed: MissedClip
    address: str
    reason: str


@dataclass(frozen=True)
class Misses:
    """The missed clips of one evaluation, with pictures."""

    of: MissedClips
    pictures: tuple[Picture, ...]
    why_none: str  #: if no clip has a picture, all for the same reason
    listed: tuple[MissedClip, ...]


def misses_of(found: Sequence[MissedClips], records: pd.DataFrame, thumbnail: Thumbnail | None) -> list[Misses]:
    """The evaluations with clips that every run misses. Every one of them gets its part of the pictures."""
    missing = [each for each in found if each.missed]
    if not missing:
        return []
    data = records.drop_duplicates("trial").set_index("trial")[_OF_DATA]
    share = max(2, _PICTURES // len(missing))
    left = _PICTURES if thumbnail is not None else 0
    result = []
    for each in missing:
        shown = _spread(each.missed, min(share, left))
        left -= len(shown)
        values = dict(data.loc[each.trial])
        pictures = tuple(_picture(missed, values, thumbnail) for missed in shown if thumbnail is not None)
        reasons = {picture.reason for picture in pictures}
        why_none = reasons.pop() if len(reasons) == 1 else ""
        result.append(
            Misses(
                of=each,
                pictures=() if why_none else pictures,
                why_none=why_none,
                listed=each.missed[:LISTED],
            )
        )
    return result


def _spread(missed: Sequence[MissedClip], count: int) -> list[MissedClip]:
    """Some of the clips, evenly over the list, which is ordered by class, or by rank."""
    count = min(count, len(missed))
    return [missed[number * len(missed) // count] for number in range(count)]


def _picture(missed: MissedClip, values: Mapping[str, Any], thumbnail: Thumbnail) -> Picture:
    found = thumbnail(values, missed.picture_of)
    if isinstance(found, str):
        return Picture(missed, "", found)
    return Picture(missed, f"data:image/jpeg;base64,{base64.b64encode(found).decode()}", "")
