"""What the page carries with it: its style, its script, and plotly.js, so that nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import gzip
import json
from importlib import resources
from typing import Any

#: Files of js/ in the order in which they are joined; the last one starts everything.
SCRIPTS = ("base", "state", "theme", "tables", "leaderboard", "provenance", "plots", "classes", "folds", "start")


def asset(name: str) -> str:
    """A file beside this one."""
    return resources.files("petl_bench.page").joinpath(name).read_text(encoding="utf-8")


def script() -> str:
    """The page's script: the files of SCRIPTS in one scope, in this order."""
    return "\n".join(asset(f"js/{name}.js") for name in SCRIPTS)


def plotly_base64() -> str:
    """plotly.js, gzipped: 1.9 MB of text instead of 4.8. The page unpacks it when the first plot comes into view."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def json_block(values: Any) -> str:
    """JSON for a <script> element: in ASCII, and without any character that could end the element or open a comment."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
