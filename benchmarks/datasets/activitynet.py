"""ActivityNet 1.3: untrimmed YouTube videos of 200 activities, in whichever published lists lie under the data root."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from petl_bench.api.dataset import Annotations, Dataset, Defect
from petl_bench.api.method import Paper
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.file_types import without_video_suffix
from petl_bench.data.found.layout import Tree, find_annotation, given_root, scan
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import published_lists as lists
from petl_bench.errors import DataError

_TWO_ORDERS = Defect(
    "two-label-orders",
    "mmaction2 numbers the same 200 names in another order than Text4Vis (label 1: Arm wrestling, Archery)",
    "a list read with the other's label file gives nearly every clip another class; each is read with its own here",
)
#: A published name: a YouTube id, before it perhaps `v_`, after it perhaps the number of an instance.
_NAME = re.compile(r"(?:v_)?(?P<video>[A-Za-z0-9_-]{11})(?P<instance>_[0-9]+)?")


@register_dataset("activitynet")
class ActivityNet(Dataset):
    """ActivityNet 1.3 (Caba Heilbron et al., CVPR 2015): train split 1, and validation as test split 1.

    Text4Vis' protocol (`lists=auto` where its files are there): training clips are trimmed, one per activity instance
    (`<id>_<instance>`, cut beforehand by the user); the 4,926 test videos are untrimmed, so most of their frames may
    show something else than their one label. Its lists are for frames at 1 per second: videos are sampled by position
    here, which comes to about the same instants. `lists=text4vis_full` reads its zero-shot list, all 14,950 videos, as
    test split 1 of a data set without training clips. mmaction2's lists train and test on whole untrimmed videos; its
    lists of parts of a frame folder are refused.

    Labels are numbers within the label file that came with a list, and the two forms number the same names differently:
    every list needs its own label file, and classes are matched by name. `v_<id>` and `<id>` are one video; letter case
    tells ids apart.
    """

    paper = Paper(
        title="ActivityNet: A Large-Scale Video Benchmark for Human Activity Understanding",
        venue="CVPR 2015",
        url="http://activity-net.org/",
        bibtex="""@inproceedings{cabaheilbron2015activitynet,
  title     = {{ActivityNet}: A Large-Scale Video Benchmark for Human Activity Understanding},
  author    = {Caba Heilbron, Fabian and Escorcia, Victor and Ghanem, Bernard and Niebles, Juan Carlos},
  booktitle = {Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {961--970},
  year      = {2015}
}""",
        licence="not stated here",
    )
    defects = (_TWO_ORDERS,)
    licence = "look it up at the source; videos come from YouTube and keep their owners' rights"

    lists: Literal["auto", "text4vis", "mmaction2", "text4vis_full"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )

    def identity(self, stem: str) -> str:
        """`v_<id>` and `<id>` are one video, `v_<id>_<n>` and `<id>_<n>` one instance; letter case counts."""
        return clip_name(stem)

    def group_of(self, clip: str) -> str:
        """The video that an instance is cut from."""
        return video_of(clip_name(clip))

    def root(self, data_root: Path | None) -> Path:
        """The data root itself; lists and clips may lie anywhere below it."""
        return given_root(
            "activitynet", data_root, "the clips and Text4Vis' or mmaction2's lists with their label file"
        )

    def annotations(self, root: Path) -> Annotations:
        """The lists found below `root`. Raises DataError for a list without its label file, and for leaks."""
        tree = scan(root)
        if self.lists == "text4vis_full":
            families = [_text4vis_full(tree)]
        else:
            readers = {"text4vis": _text4vis, "mmaction2": _mmaction2}
            families = [read(tree) for name, read in readers.items() if self.lists in ("auto", name)]
        _refuse_unnamed(families)
        found = lists.read_annotations(root, families, _states_no_class, clip_name=clip_name)
        for split, test in found.test.items():
            train = {f"train {split}": found.train.get(split, ())}
            formats.refuse_overlap(train, {f"test {split}": test}, video_of)
        return replace(found, defects=self.defects)


def clip_name(clip: str) -> str:
    """A clip without folders, video extension and `v_`: `<id>` or `<id>_<instance>`; other names as they are."""
    stem = without_video_suffix(clip.rpartition("/")[2])
    name = _NAME.fullmatch(stem)
    return name["video"] + (name["instance"] or "") if name else stem


def video_of(clip: str) -> str:
    """The video that a clip is cut from."""
    name = _NAME.fullmatch(clip)
    return name["video"] if name else clip


def _states_no_class(_clip: str) -> None:
    return None


def _refuse_unnamed(families: Sequence[lists.Family]) -> None:
    label_files = {
        "text4vis": "anet1.3_labels.csv",
        "text4vis_full": "anet1.3_labels.csv",
        "mmaction2": "activitynet/label_map.txt",
    }
    for family in families:
        if family.splits and not family.classes:
            raise DataError(
                f"{family.splits[0].file}: its label file {label_files[family.name]} is not there. ActivityNet's lists "
                "number the same classes in different orders, so no other label file can stand in for it; put it "
                "beside the list, or choose other lists with --set activitynet.lists=..."
            )


def _text4vis(tree: Tree) -> lists.Family:
    family = lists.rows_family(tree, "text4vis", ["anet1.3_labels.csv"], {})
    train, test = (find_annotation(tree, f"anet_{part}_fps1.txt") for part in ("train_instance", "val_video"))
    family.add(family.train, 1, train, formats.read_counted_list)
    family.add(family.test, 1, test, formats.read_counted_list)
    return family


def _text4vis_full(tree: Tree) -> lists.Family:
    family = lists.rows_family(tree, "text4vis_full", ["anet1.3_labels.csv"], {})
    family.add(family.test, 1, find_annotation(tree, "anet_full_for_zeroshot.txt"), formats.read_counted_list)
    return family


def _mmaction2(tree: Tree) -> lists.Family:
    """Lists of whole videos; a list of parts is read, and then refused with the reason, only where it stands alone."""
    patterns = ["activitynet/label_map.txt", "ActivityNet/label_map.txt", "./label_map.txt"]
    family = lists.rows_family(tree, "mmaction2", patterns, {})
    for part, found in (("train", family.train), ("val", family.test)):
        file = find_annotation(tree, f"anet_{part}_video.txt", f"anet_{part}_clip.txt")
        family.add(found, 1, file, formats.read_counted_list)
    return family
