"""What the tests of the store share: stores that answer as told, and a PUT that is cancelled."""

import contextlib
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.support.bucket import Bucket, Served
from trio_collector.config.settings import AwsSection
from trio_collector.store.client import Client, S3Request
from trio_collector.store.credentials import CredentialChain
from trio_collector.store.local_file import LocalFile
from trio_collector.store.responses import StoreResponse
from trio_collector.store.s3 import S3Store

# What fixtures return.
ContentOf = Callable[[bytes], Awaitable[LocalFile]]
OpenStore = Callable[..., S3Store]
StartBucket = Callable[..., Awaitable[Bucket]]

KEYS = {"AWS_ACCESS_KEY": "a", "AWS_SECRET_KEY": "hidden"}


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


class RawServers:
    """Starts servers that answer each request with the next of some bytes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.heads: list[bytes] = []  # of the requests, in lower case
        self._nursery = nursery

    async def __call__(self, *answers: bytes) -> S3Store:
        """Start a server, and return a store for it."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        left = list(answers)

        async def serve(stream: trio.SocketStream) -> None:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some()
            self.heads.append(received.partition(b"\r\n\r\n")[0].lower())
            with contextlib.suppress(trio.BrokenResourceError):  # the client heard enough
                await stream.send_all(left.pop(0) if left else b"")

        self._nursery.start_soon(trio.serve_listeners, serve, [listener])
        return store_at(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")


@pytest.fixture
def serve_raw(nursery: trio.Nursery) -> RawServers:
    return RawServers(nursery)


class ScriptedClient(Client):
    """A client without a network: `reply` says what comes of each request."""

    def __init__(self, reply: Callable[[S3Request], StoreResponse | Exception]) -> None:
        super().__init__(AwsSection(), CredentialChain(KEYS), ssl.create_default_context())
        self.requests: list[tuple[float, S3Request]] = []  # and when they were sent
        self._reply = reply

    def sent(self, operation: str) -> list[S3Request]:
        return [request for _, request in self.requests if request.operation == operation]

    async def send(self, request: S3Request) -> StoreResponse:
        self.requests.append((trio.current_time(), request))
        with trio.CancelScope(shield=True):  # it has its reply, though another may have failed
            await trio.sleep(0.001)
        response = self._reply(request)
        if isinstance(response, Exception):
            raise response
        return response


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
