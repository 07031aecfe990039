"""URLs that a configuration may name, judged before anything connects."""

import ipaddress
import urllib.parse
from collections.abc import Collection

WEBSOCKET = ("wss", "ws")
HTTP = ("https", "http")


def websocket_url_fault(url: str) -> str | None:
    """Return what is wrong with the `base_url` of a market; None if it can be used."""
    if fault := _fault(url, WEBSOCKET):
        return fault
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "ws" and not is_loopback(parts.hostname or ""):
        return f"{url!r} is not encrypted; use wss://, for ws:// stays on this machine"
    return None


def store_url_fault(url: str) -> str | None:
    """Return what is wrong with the `endpoint_url` of a store; None if it can be used."""
    return _fault(url, HTTP)


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine, without asking a name server."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fault(url: str, schemes: Collection[str]) -> str | None:
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
