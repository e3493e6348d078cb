"""ActivityNet 1.3: untrimmed YouTube videos of 200 activities, in whichever published lists lie under the data root."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from petl_bench.api.dataset import Annotations, Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.listed import trained_and_tested
from petl_bench.data.found.tree import Tree
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.list_forms import FormReader, ListForm, find_form
from petl_bench.data.lists.published_dataset import PublishedDataset
from petl_bench.errors import DataError

_TWO_ORDERS = Defect(
    "two-label-orders",
    "mmaction2 numbers the same 200 names in another order than Text4Vis (label 1: Arm wrestling, Archery)",
    "a list read with the other's label file gives nearly every clip another class; each is read with its own here",
)
#: A published name: a YouTube id, before it perhaps `v_`, after it perhaps the number of an instance.
_NAME = re.compile(r"(?:v_)?(?P<video>[A-Za-z0-9_-]{11})(?P<instance>_[0-9]+)?")


_TEXT4VIS_LABELS = ["anet1.3_labels.csv"]
_LABEL_FILES = {
    "text4vis": _TEXT4VIS_LABELS,
    "text4vis_full": _TEXT4VIS_LABELS,
    "mmaction2": ["activitynet/label_map.txt", "ActivityNet/label_map.txt", "./label_map.txt"],
}


def _form(name: str, *train: str, test: str = "") -> FormReader:
    """A form of one split, from the first of the files that is there; test lists are named alike but for `test`."""
    lists = [dict.fromkeys(files, formats.read_counted_list) for files in (train, [test] if test else train)]
    return partial(find_form, name=name, class_files=_LABEL_FILES[name], train=lists[0], test=lists[1], splits=(1,))


def clip_name(clip: str) -> str:
    """A clip without folders, video extension and `v_`: `<id>` or `<id>_<instance>`; other names as they are."""
    stem = clip_stem(clip)
    name = _NAME.fullmatch(stem)
    return name["video"] + (name["instance"] or "") if name else stem


def video_of(clip: str) -> str:
    """The video that a clip is cut from."""
    name = _NAME.fullmatch(clip)
    return name["video"] if name else clip


@register_dataset("activitynet")
class ActivityNet(PublishedDataset):
    """ActivityNet 1.3 (Caba Heilbron et al., CVPR 2015): train split 1, and validation as test split 1.

    Text4Vis' protocol (`lists=auto` if its files are there): training clips are trimmed, one per activity instance
    (`<id>_<instance>`, cut beforehand by the user); the 4,926 test videos are untrimmed, so most of their frames may
    show something else than their one label. Its lists are for frames at 1 per second: videos are sampled by position
    here, which comes to about the same instants. `lists=text4vis_full` reads its zero-shot list, all 14,950 videos, as
    test split 1 of a data set without training clips. mmaction2's lists train and test on whole untrimmed videos; its
    lists of parts of a frame folder are refused.

    Labels are numbers within the label file that came with a list, and the two forms number the same names differently:
    every list needs its own label file, and classes are matched by name. `v_<id>` and `<id>` are one video; letter case
    tells ids apart.
    """

    display = "ActivityNet"
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
    published_tests = (("test", 4926, 4926),)
    licence = "look it up at the source; videos come from YouTube and keep their owners' rights"

    holds = "the clips and Text4Vis' or mmaction2's lists with their label file"
    # mmaction2's lists are of whole videos; a list of parts is refused with the reason, and read only if it is alone.
    forms: ClassVar[Mapping[str, FormReader]] = {
        "text4vis": _form("text4vis", "anet_train_instance_fps1.txt", test="anet_val_video_fps1.txt"),
        "mmaction2": _form("mmaction2", "anet_{part}_video.txt", "anet_{part}_clip.txt"),
        "text4vis_full": _form("text4vis_full", test="anet_full_for_zeroshot.txt"),
    }
    separate_forms = ("text4vis_full",)

    lists: Literal["auto", "text4vis", "mmaction2", "text4vis_full"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )

    def identity(self, stem: str) -> str:
        """`v_<id>` and `<id>` are one video, `v_<id>_<n>` and `<id>_<n>` one instance; letter case counts."""
        return clip_name(stem)

    def group_of(self, clip: str) -> str:
        """The video that an instance is cut from."""
        return video_of(clip_name(clip))

    def clip_name(self, clip: str) -> str:
        """`<id>` or `<id>_<instance>`."""
        return clip_name(clip)

    def list_forms(self, tree: Tree) -> list[ListForm]:
        """The forms. Raises DataError for a list without its label file."""
        forms = super().list_forms(tree)
        for form in forms:
            if form.splits and not form.classes:
                raise DataError(
                    f"{form.splits[0].file}: its label file {_LABEL_FILES[form.name][0]} is not there. ActivityNet's "
                    "lists number the same classes in different orders, so no other label file can stand in for it; "
                    "put it beside the list, or choose other lists with --set activitynet.lists=..."
                )
        return forms

    def annotations(self, root: Path) -> Annotations:
        """The lists found below `root`. Raises DataError for a list without its label file, and for leaks."""
        found = super().annotations(root)
        for _, train, test in trained_and_tested(found):
            formats.refuse_overlap(train, test, video_of)
        return found
