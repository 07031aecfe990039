"""One exchange over a bad line: each failure is one StoreError in words, in time."""

import os

import pytest
import trio
import trio.testing

from tests.support.bucket import (
    Fault,
    FaultScript,
)
from tests.support.stores import (
    ContentOf,
    OpenStore,
    RawServers,
    StartBucket,
    answer,
    put_and_cancel,
    store_at,
)
from trio_collector.errors import (
    StoreError,
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.store import http


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault.CLOSED, StoreUnavailable, "connection broke"),
        (Fault.CUT_BODY, StoreUnavailable, "connection broke"),
        (Fault.RESET, StoreUnavailable, "connection broke"),
        (Fault.ERROR_BEFORE, StoreUnavailable, "500 InternalError"),
        (Fault.SLOW_DOWN, StoreThrottling, "503 SlowDown"),
        (Fault.CONFLICT, StoreUnavailable, "409 ConditionalRequestConflict"),
        (Fault.EXPIRED_TOKEN, StoreUnavailable, "403 ExpiredToken"),
        (Fault.SKEWED, StoreRejected, "403 RequestTimeTooSkewed"),
        (Fault.ERROR_AFTER, StoreUnavailable, "500 InternalError"),
        (Fault.LOST_REPLY, StoreUnavailable, "connection broke"),
        (Fault.CUT_REPLY, StoreUnavailable, "connection broke"),
        (Fault.TRUNCATED_XML, StoreUnavailable, "500"),
    ],
)
async def test_failures(
    fault: Fault,
    kind: type[StoreError],
    words: str,
    start_bucket: StartBucket,
    store_of: OpenStore,
    content_of: ContentOf,
) -> None:
    """Whatever happens to a request is told as what it is."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(fault,)))
    content = await content_of(os.urandom(3 << 20))
    with pytest.raises(kind) as caught:
        await store_of(bucket).put("key", content)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("PutObject key: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "after_s", "words"),
    [
        (Fault.STALLED_BODY, http.STALL_S, "takes nothing more|no answer"),
        (Fault.STALLED_REPLY, http.STALL_S, "no answer"),
        (Fault.DRIP, http.RESPONSE_S, "not done after 60 s"),
    ],
)
async def test_silence(
    fast_clock: trio.testing.MockClock,
    fault: Fault,
    after_s: float,
    words: str,
    start_bucket: StartBucket,
    store_of: OpenStore,
    content_of: ContentOf,
) -> None:
    """A store that says nothing, or next to nothing, is given up after a while."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(fault,), drip_s=5.0))
    content = await content_of(b"rows" if fault is Fault.DRIP else os.urandom(8 << 20))
    started = trio.current_time()
    with pytest.raises(StoreUnavailable, match=words):
        await store_of(bucket).put("key", content)
    assert after_s <= trio.current_time() - started < after_s + 40


async def test_nobody_there(free_tcp_url: str) -> None:
    """A port where nobody listens is told in words, with what to look at."""
    with pytest.raises(StoreUnavailable, match="HeadBucket: no connection: refused") as caught:
        await store_at(free_tcp_url).ensure_bucket()
    assert "aws.endpoint_url" in caught.value.remedy


@pytest.fixture
async def free_tcp_url() -> str:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    return f"http://127.0.0.1:{port}"


class NoNames(trio.abc.HostnameResolver):
    """A name server that knows nothing."""

    async def getaddrinfo(self, *_: object) -> list[object]:  # type: ignore[override]  # never returns
        raise trio.socket.gaierror(trio.socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


async def test_no_such_name() -> None:
    """A name that is not found is told as that."""
    trio.socket.set_custom_hostname_resolver(NoNames())
    with pytest.raises(
        StoreUnavailable, match=r"name not found \(Name or service not known\)"
    ) as caught:
        await store_at("https://store.invalid").ensure_bucket()
    assert "name server" in caught.value.remedy


async def test_untrusted_certificate(start_bucket: StartBucket, store_of: OpenStore) -> None:
    """A certificate that nobody vouches for is refused; there is no switch against that."""
    bucket = await start_bucket(is_tls=True)
    with pytest.raises(StoreRejected, match="untrusted CA") as caught:
        await store_at(bucket.endpoint_url).ensure_bucket()
    assert "SSL_CERT_FILE" in caught.value.remedy
    await store_of(bucket).ensure_bucket()


async def test_certificate_of_another_host(start_bucket: StartBucket, store_of: OpenStore) -> None:
    """A certificate for another name is refused as well."""
    bucket = await start_bucket(is_tls=True)
    trio.socket.set_custom_hostname_resolver(Loopback())
    url = f"https://other.example:{bucket.port}"
    with pytest.raises(StoreRejected, match=r"host mismatch \(.*other.example"):
        await store_of(bucket, endpoint_url=url).ensure_bucket()


class Loopback(trio.abc.HostnameResolver):
    """A name server that takes every name for this machine."""

    async def getaddrinfo(  # type: ignore[override]  # the family is always the same
        self, _host: bytes, port: int, *_: object
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        inet, stream = trio.socket.AF_INET, trio.socket.SOCK_STREAM
        return [(inet, stream, 6, "", ("127.0.0.1", int(port)))]

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


async def test_no_tls_there(start_bucket: StartBucket) -> None:
    """A port without TLS is told as that."""
    bucket = await start_bucket()
    with pytest.raises(StoreUnavailable, match="closed during the TLS handshake"):
        await store_at(bucket.endpoint_url.replace("http:", "https:")).ensure_bucket()


async def test_tls(start_bucket: StartBucket, store_of: OpenStore, content_of: ContentOf) -> None:
    """Over TLS everything is as without."""
    store = store_of(await start_bucket(is_tls=True))
    content = await content_of(os.urandom(3 << 20))
    await store.put("key", content)
    assert await store.fetch_digest("key", 3 << 20) == await content.digest_with_md5()


async def test_endless_answer(serve_raw: RawServers) -> None:
    """An answer is read up to a bound."""
    store = await serve_raw(answer(500, b"x" * (1 << 20)))
    with pytest.raises(StoreUnavailable, match="an answer of more than"):
        await store.delete("key")


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 200 OK\r\n", b"\0\0\0\r\n\r\n", b"SSH-2.0\r\n\r\n"]
)
async def test_not_http(raw: bytes, serve_raw: RawServers) -> None:
    """What is no HTTP is a broken connection."""
    store = await serve_raw(raw)
    with pytest.raises(StoreUnavailable, match="connection broke"):
        await store.delete("key")


async def test_redirect_is_not_followed(serve_raw: RawServers) -> None:
    """A redirect would take the signature elsewhere; it is told, with the right region."""
    store = await serve_raw(
        answer(301, headers="location: http://127.0.0.1:1/\r\nx-amz-bucket-region: eu-x-1\r\n")
    )
    with pytest.raises(StoreRejected, match=r"another region \(region eu-x-1\)") as caught:
        await store.delete("key")
    assert "aws.region" in caught.value.remedy


async def test_cancelled(
    start_bucket: StartBucket, store_of: OpenStore, content_of: ContentOf
) -> None:
    """A cancelled call lets go at once."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(Fault.STALLED_REPLY,)))
    content = await content_of(b"rows")
    assert await put_and_cancel(store_of(bucket), content, bucket, 1)


def test_deadline_grows() -> None:
    """A large body has more time: 64 KiB a second are still called progress."""
    assert http.deadline_s(0) == 60
    assert http.deadline_s(64 << 20) == 60 + 1024
