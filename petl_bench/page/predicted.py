"""Labelled videos as one page with pictures; nothing is loaded from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from petl_bench.page.assets import asset
from petl_bench.page.found import Pictures, addresses, lone_page_environment

if TYPE_CHECKING:
    from petl_bench.inference.predictions import Predictions


def predicted_page(predictions: Predictions, pictures: Pictures, *, most: int, top: int) -> bytes:
    """The page as UTF-8: a section for each class with the videos of which it is the best, the most probable first.

    Args:
        predictions: Of at least one video.
        pictures: A few frames of a video by its name, or the reason why there are none.
        most: Videos on the page; of each class as many as there is room for, and at least one.
        top: Classes of a video.
    """
    groups = predictions.by_class()
    share = max(1, most // max(1, len(groups)))
    sections = [_section(predictions, pictures, label, names, share, top) for label, names in groups.items()]
    page = (
        lone_page_environment()
        .get_template("predicted.html.jinja")
        .render(
            predictions=predictions,
            sections=sections,
            shown=sum(len(section["videos"]) for section in sections),
            style=Markup(asset("page.css") + asset("found.css")),
        )
    )
    return page.encode("utf-8", errors="replace")


def _section(
    predictions: Predictions, pictures: Pictures, label: str, names: list[str], share: int, top: int
) -> dict[str, Any]:
    return {
        "label": label,
        "count": len(names),
        "videos": [_video(predictions, pictures, name, top) for name in names[:share]],
    }


def _video(predictions: Predictions, pictures: Pictures, name: str, top: int) -> dict[str, Any]:
    found = pictures(name)
    shown = (
        {"reason": found, "addresses": []} if isinstance(found, str) else {"reason": "", "addresses": addresses(found)}
    )
    return {"file": name, "best": predictions.best(name, top), **shown}
