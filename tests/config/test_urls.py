"""URLs of a configuration are judged before anything connects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.config.urls import (
    http_url_fault,
    is_loopback,
    store_url_fault,
    websocket_url_fault,
)


@pytest.mark.parametrize(
    "url",
    ["wss://stream.example:9443/ws", "WSS://stream.example", "ws://127.9.9.9", "ws://[::1]:80/a"],
)
def test_websocket_urls(url: str) -> None:
    """A WebSocket is encrypted, or stays on this machine."""
    assert websocket_url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ws://10.0.0.1", "not encrypted"),
        ("ws://localhost.example.com", "not encrypted"),
        ("http://stream.example", "not a URL of the form wss://"),
        ("wss://", "not a URL of the form wss://"),
        ("wss://stream.example/a b", "not a URL of the form wss://"),
        ("wss://[::1", "not a URL: "),
        ("wss://stream.example:port", "not a URL: "),
        ("wss://me@stream.example", "has a user"),
        ("wss://stream.example/?a=1", "has a user, a query"),
    ],
)
def test_websocket_url_faults(url: str, fault: str) -> None:
    """A fault is a text that says what is wrong."""
    assert fault in (websocket_url_fault(url) or "")


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    """Whatever the text, the result is a fault or None, never an error."""
    assert websocket_url_fault(text) != ""
    assert http_url_fault(text) != ""
    assert store_url_fault(text) != ""


def test_store_urls() -> None:
    """The form of a store's address may be plain or encrypted HTTP."""
    assert store_url_fault("http://minio:9000") is None
    assert store_url_fault("https://s3.example/tenant") is None
    assert "https://host" in (store_url_fault("s3://bucket") or "")


def test_http_urls() -> None:
    """A store or REST interface is encrypted, or stays on this machine."""
    assert http_url_fault("https://s3.example/tenant") is None
    assert http_url_fault("http://127.0.0.1:9000") is None
    plain = "'http://minio:9000' is not encrypted; use https://, for http:// stays on this machine"
    assert http_url_fault("http://minio:9000") == plain
    assert http_url_fault("s3://bucket") == store_url_fault("s3://bucket")


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a", False)],
)
def test_loopback(host: str, is_ours: bool) -> None:
    """This machine is recognised by its address, without a name server."""
    assert is_loopback(host) is is_ours
