"""The status page: one HTML document with its style and script inside, which loads nothing else.

The content security policy names the digests of exactly this style and script, so that nothing else
can run, even if a name shown on the page were markup.
"""

import base64
import hashlib
from functools import cache
from importlib import resources

from trio_collector.endpoint.responses import HTML, OK, Response


@cache
def page_response() -> Response:
    """Return the page."""
    html, style, script = map(_read, ("page.html", "page.css", "page.js"))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    body = html.replace("/* style */", style).replace("/* script */", script)
    return Response(OK, body.encode(), HTML, {"content-security-policy": policy})


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
