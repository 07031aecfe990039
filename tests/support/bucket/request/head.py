"""A request as it came over the wire, and what it is addressed to.

Nothing is tidied up: the path and the query are the client's own bytes, for the signature is over
what was sent. The bucket is the first part of the path, or what stands in front of `.localhost` in
the host's name (path and virtual addressing).
"""

import urllib.parse
from functools import cached_property
from typing import NamedTuple

import h11

from tests.support.bucket.http.error import S3Error

_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024


class Address(NamedTuple):
    """The bucket and the key that a request names; either may be empty."""

    bucket: str
    key: str


class Request:
    """The head of a request; names of headers are in lower case, in the order they came."""

    def __init__(self, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers

    @classmethod
    def from_h11(cls, head: h11.Request) -> "Request":
        # Latin-1 maps every byte to one character and back: nothing is lost, nothing is guessed.
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers]
        return cls(head.method.decode("ascii"), head.target.decode("latin-1"), headers)

    def header(self, name: str) -> str | None:
        """Return the value of a header; None if it is absent."""
        return next((value for known, value in self.headers if known == name), None)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query, decoded."""
        pairs = (pair.partition("=") for pair in self.query.split("&") if pair)
        return {urllib.parse.unquote(k): urllib.parse.unquote(v) for k, _, v in pairs}

    @property
    def body_bytes(self) -> int:
        """How long the body is said to be."""
        length = self.header("content-length")
        return int(length) if length else 0

    def address(self) -> Address:
        """Return what the request is addressed to; raises S3Error where that is not a name."""
        try:
            path = urllib.parse.unquote(self.path, errors="strict")
        except UnicodeDecodeError as exc:
            raise S3Error("InvalidURI", "the path is not UTF-8") from exc
        host = (self.header("host") or "").rsplit(":", 1)[0].lower()
        bucket, key = host.removesuffix(".localhost"), path[1:]
        if host in _HOSTS:
            bucket, _, key = key.partition("/")
        if len(key.encode()) > MAX_KEY_BYTES:
            raise S3Error("KeyTooLongError", f"a key has at most {MAX_KEY_BYTES} bytes")
        return Address(bucket, key)
