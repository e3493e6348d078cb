"""What the page carries with it: its style, its script, and plotly.js, so that nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
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


def policy(code: str) -> str:
    """The page's content security policy: nothing is loaded, and no script runs but `code` and plotly.

    All styles are allowed: plotly adds its own, and they can load nothing.
    """
    from plotly.offline import get_plotlyjs

    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_allowed(code)} {_allowed(get_plotlyjs())}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _allowed(text: str) -> str:
    """An inline script by its hash, as a policy allows it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
