"""Requests are signed over a hash that is known beforehand."""

import hashlib
import re

from trio_collector.store.credentials import AccessKeys
from trio_collector.store.signing import sign_headers

KEYS = AccessKeys("AKID", "SECRET", "TOKEN")
URL = "https://rows.example/a%20b"


def sign(sha256: str, headers: dict[str, str] | None = None) -> dict[str, str]:
    return sign_headers(
        "PUT", URL, headers or {}, body_sha256=sha256, keys=KEYS, region="eu-test-1"
    )


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def test_hash_is_taken_as_it_is() -> None:
    """The body's hash is the one that was given, and nothing is read."""
    sha256 = hashlib.sha256(b"rows").hexdigest()
    assert lower(sign(sha256))["x-amz-content-sha256"] == sha256


def test_everything_that_matters_is_signed() -> None:
    """Host, hash, token and all that the caller sends are part of the signature."""
    headers = lower(sign("0" * 64, {"host": "rows.example", "if-none-match": "*"}))
    found = re.search(r"SignedHeaders=([^,]+)", headers["authorization"])
    assert found
    assert set(found[1].split(";")) == {
        "host",
        "if-none-match",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    }
    assert "/eu-test-1/s3/aws4_request" in headers["authorization"]


def test_secret_is_not_sent() -> None:
    """The secret key is in no header; the token is in its own."""
    headers = lower(sign("0" * 64))
    assert "SECRET" not in str(headers)
    assert headers["x-amz-security-token"] == "TOKEN"
