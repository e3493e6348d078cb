"""What a search found, as one page with pictures; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from petl_bench.page.assets import asset
from petl_bench.system.texts import clean
from petl_bench.system.words import several

if TYPE_CHECKING:
    from petl_bench.searching.rankings import SearchResult

#: A few frames of a file of the folder as JPEG, or the reason why there are none.
Pictures = Callable[[str], list[bytes] | str]


def found_page(result: SearchResult, pictures: Pictures) -> bytes:
    """The page as UTF-8: a section for each query, its videos with their pictures."""
    files = dict.fromkeys(hit.file for ranking in result.rankings for hit in ranking.hits)
    shown = {file: pictures(file) for file in files}
    found = {file: addresses(each) for file, each in shown.items() if not isinstance(each, str)}
    page = (
        lone_page_environment()
        .get_template("found.html.jinja")
        .render(
            result=result,
            addresses=found,
            reasons={file: each for file, each in shown.items() if isinstance(each, str)},
            style=Markup(asset("page.css") + asset("found.css")),
        )
    )
    return page.encode("utf-8", errors="replace")


def lone_page_environment() -> jinja2.Environment:
    """Templates of pages that stand alone; everything in them is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("petl_bench.page", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clean": clean, "length": length, "several": several}
    return environment


def length(seconds: float | None) -> str:
    """The length of a video for people: `2.0 s`, `3:05`, `1:02:03`; "-" if it is not known."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def addresses(frames: list[bytes]) -> list[str]:
    """JPEG pictures as addresses that hold them."""
    return [f"data:image/jpeg;base64,{base64.b64encode(frame).decode()}" for frame in frames]
