"""The live page: one document put together from its sources in ``live/``, and the policy a browser is to keep to.

Its script and its style stand in the document itself and are allowed by their hashes, nothing else is: the page
cannot load anything from anywhere, nor talk to anybody but the server it came from.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import Final

STYLE: Final = "page.css"
SCRIPTS: Final = ("words.js", "figures.js", "drawing.js", "charts.js", "panels.js", "details.js", "page.js")
"""One script in the end: what comes first is used by what comes later."""


@functools.cache
def page() -> tuple[bytes, str]:
    """The document (UTF-8), and the value of its ``Content-Security-Policy``."""
    style = f"\n{_source(STYLE)}"
    script = "\n" + "\n".join(_source(name) for name in SCRIPTS)
    document = _source("page.html").replace("[[style]]", style).replace("[[script]]", script)
    policy = (
        "default-src 'none'",
        "connect-src 'self'",
        f"script-src '{_hash(script)}'",
        f"style-src '{_hash(style)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return document.encode(), "; ".join(policy)


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("live", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
