"""What the page carries with it: its style, its script, and plotly.js, so that nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import gzip
import json
from importlib import resources
from typing import Any

#: Files of js/ in the order in which they are joined; the last one starts everything.
SCRIPTS = (
    "base",
    "state",
    "theme",
    "tables",
    "leaderboard",
    "provenance",
    "plots",
    "labels",
    "classes",
    "export",
    "folds",
    "start",
)


def asset(name: str) -> str:
    """A file beside this one."""
    return resources.files("petl_bench.page").joinpath(name).read_text(encoding="utf-8")


def script() -> str:
    """The page's script: the files of SCRIPTS in one scope, in this order."""
    return "\n".join(asset(f"js/{name}.js") for name in SCRIPTS)


def packed(text: str) -> str:
    """A text gzipped, in base64; the page unpacks it when it is needed."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", errors="replace"), mtime=0)).decode()


def plotly() -> str:
    """plotly.js, packed: 1.9 MB of text instead of 4.8."""
    from plotly.offline import get_plotlyjs

    return packed(get_plotlyjs())


def json_block(values: Any) -> str:
    """JSON for a <script> element: in ASCII, and without any character that could end the element or open a comment."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
