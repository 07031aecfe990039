"""What the tests of the store share: servers that answer with given bytes, and a cancelled PUT."""

import contextlib
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.support.bucket import Bucket, Served
from trio_collector.config.settings import AwsSection
from trio_collector.store.client import Client
from trio_collector.store.credentials import CredentialChain
from trio_collector.store.local_file import LocalFile
from trio_collector.store.s3 import S3Store

ServeRaw = Callable[..., Awaitable[S3Store]]

KEYS = {"AWS_ACCESS_KEY": "a", "AWS_SECRET_KEY": "b"}


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """A clock that runs thirty times as fast: sockets are real, so it may not jump over them."""
    return trio.testing.MockClock(rate=30)


def store_at(url: str) -> S3Store:
    aws = AwsSection(endpoint_url=url, bucket="rows")
    return S3Store(aws, Client(aws, CredentialChain(KEYS), ssl.create_default_context()))


def answer(status: int, body: bytes = b"", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Words\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@pytest.fixture
def serve_raw(nursery: trio.Nursery) -> ServeRaw:
    """Start a server that answers each request with the next of some bytes; a store for it."""

    async def start(*answers: bytes) -> S3Store:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        left = list(answers)

        async def serve(stream: trio.SocketStream) -> None:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some()
            with contextlib.suppress(trio.BrokenResourceError):  # the client heard enough
                await stream.send_all(left.pop(0) if left else b"")

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        return store_at(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")

    return start


class Requests(list[Served]):
    """What a bucket was asked, for a test that waits for it."""

    def __init__(self) -> None:
        self._heard = trio.Event()

    def append(self, served: Served, /) -> None:
        super().append(served)
        self._heard.set()
        self._heard = trio.Event()

    async def wait(self, count: int) -> None:
        while len(self) < count:
            await self._heard.wait()


async def put_and_cancel(store: S3Store, content: LocalFile, bucket: Bucket, requests: int) -> bool:
    """Put `content`, cancel that when the bucket has had some requests; return if that was it."""
    bucket.requests = heard = Requests()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.put, "key", content)
            await heard.wait(requests)
            nursery.cancel_scope.cancel()
    return nursery.cancel_scope.cancelled_caught
