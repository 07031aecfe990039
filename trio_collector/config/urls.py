"""URLs that a configuration may name, judged before anything connects.

A fault is a text that names the URL, what is wrong with it and what would be right; None is no fault.
"""

import ipaddress
import urllib.parse
from collections.abc import Collection

# The encrypted scheme, then the plain one, which is for this machine alone.
WEBSOCKET = ("wss", "ws")
HTTP = ("https", "http")


def websocket_url_fault(url: str) -> str | None:
    """Return what is wrong with the address of an exchange's WebSocket."""
    return _form_fault(url, WEBSOCKET) or _encryption_fault(url, *WEBSOCKET)


def http_url_fault(url: str) -> str | None:
    """Return what is wrong with the address of a store or of an exchange's REST interface."""
    return store_url_fault(url) or _encryption_fault(url, *HTTP)


def store_url_fault(url: str) -> str | None:
    """Return what is wrong with the form of an HTTP address, encrypted or not."""
    return _form_fault(url, HTTP)


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine, without asking a name server."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _form_fault(url: str, schemes: Collection[str]) -> str | None:
    try:
        parts = urllib.parse.urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as exc:
        return f"{url!r} is not a URL: {exc}"
    if parts.scheme not in schemes or not host or not url.isprintable() or " " in url:
        return f"{url!r} is not a URL of the form {next(iter(schemes))}://host[:port][/path]"
    if parts.username is not None or parts.query or parts.fragment:
        return f"{url!r} has a user, a query or a fragment; give scheme, host, port and path alone"
    return None


def _encryption_fault(url: str, encrypted: str, plain: str) -> str | None:
    """Return a fault if the well-formed `url` leaves this machine without TLS."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == plain and not is_loopback(parts.hostname or ""):
        return f"{url!r} is not encrypted; use {encrypted}://, for {plain}:// stays on this machine"
    return None
