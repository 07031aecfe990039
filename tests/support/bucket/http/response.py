"""What goes back to the client: status, headers, and a body that is mostly XML."""

import email.utils
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

# An element is its name and either text or further elements.
Element = tuple[str, "str | Iterable[Element]"]

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Response(NamedTuple):
    """A response; to HEAD it has a `content-length` and no body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def xml_response(root: str, content: str | Iterable[Element]) -> Response:
    """Return a document of S3's namespace."""
    inner = _inner(content)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">{inner}</{root}>'
    return Response(200, {"content-type": "application/xml"}, text.encode())


def _render(element: Element) -> str:
    name, content = element
    return f"<{name}>{_inner(content)}</{name}>"


def _inner(content: str | Iterable[Element]) -> str:
    return escape(content) if isinstance(content, str) else "".join(map(_render, content))


def http_date(unix_time: float) -> str:
    """Return a time as HTTP's headers have it."""
    return email.utils.formatdate(unix_time, usegmt=True)


def iso_date(unix_time: float) -> str:
    """Return a time as S3's documents have it."""
    parsed = email.utils.parsedate_to_datetime(http_date(unix_time))
    return f"{parsed:%Y-%m-%dT%H:%M:%S.000Z}"
