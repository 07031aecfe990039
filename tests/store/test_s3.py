"""S3 over a bad line: each failure is one StoreError in words, in time, and leaves nothing behind."""

import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.support.bucket import (
    Bucket,
    Credential,
    Fault,
    FaultScript,
    Operation,
    Served,
)
from trio_collector.config.settings import AwsSection
from trio_collector.errors import (
    DiskError,
    ObjectExists,
    StoreError,
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.store import http
from trio_collector.store.client import Client
from trio_collector.store.credentials import CredentialChain
from trio_collector.store.local_file import LocalFile
from trio_collector.store.s3 import S3Store

ContentOf = Callable[[bytes], Awaitable[LocalFile]]
Open = Callable[..., S3Store]
Start = Callable[..., Awaitable[Bucket]]
ServeRaw = Callable[..., Awaitable[S3Store]]

KEYS = {"AWS_ACCESS_KEY": "a", "AWS_SECRET_KEY": "b"}


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """A clock that runs thirty times as fast: sockets are real, so it may not jump over them."""
    return trio.testing.MockClock(rate=30)


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


def store_at(url: str) -> S3Store:
    aws = AwsSection(endpoint_url=url, bucket="rows")
    return S3Store(aws, Client(aws, CredentialChain(KEYS), ssl.create_default_context()))


def answer(status: int, body: bytes = b"", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Words\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


# ---- one call ----


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
    start_bucket: Start,
    store_of: Open,
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
    start_bucket: Start,
    store_of: Open,
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


async def test_retry_after(start_bucket: Start, store_of: Open, content_of: ContentOf) -> None:
    """The store's wish to be left alone is passed on."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(Fault.SLOW_DOWN,), retry_after_s=17))
    with pytest.raises(StoreThrottling) as caught:
        await store_of(bucket).put("key", await content_of(b"rows"))
    assert caught.value.retry_after_s == 17
    assert caught.value.request_id


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


async def test_untrusted_certificate(start_bucket: Start, store_of: Open) -> None:
    """A certificate that nobody vouches for is refused; there is no switch against that."""
    bucket = await start_bucket(is_tls=True)
    with pytest.raises(StoreRejected, match="untrusted CA") as caught:
        await store_at(bucket.endpoint_url).ensure_bucket()
    assert "SSL_CERT_FILE" in caught.value.remedy
    await store_of(bucket).ensure_bucket()


async def test_certificate_of_another_host(start_bucket: Start, store_of: Open) -> None:
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


async def test_no_tls_there(start_bucket: Start) -> None:
    """A port without TLS is told as that."""
    bucket = await start_bucket()
    with pytest.raises(StoreUnavailable, match="closed during the TLS handshake"):
        await store_at(bucket.endpoint_url.replace("http:", "https:")).ensure_bucket()


async def test_tls(start_bucket: Start, store_of: Open, content_of: ContentOf) -> None:
    """Over TLS everything is as without."""
    store = store_of(await start_bucket(is_tls=True))
    content = await content_of(os.urandom(3 << 20))
    await store.put("key", content)
    assert await store.fetch_digest("key", 3 << 20) == await content.digest_with_md5()


async def test_endless_answer(serve_raw: ServeRaw) -> None:
    """An answer is read up to a bound."""
    store = await serve_raw(answer(500, b"x" * (1 << 20)))
    with pytest.raises(StoreUnavailable, match="an answer of more than"):
        await store.delete("key")


async def test_longer_object(serve_raw: ServeRaw) -> None:
    """An object that is longer than expected is not read to its end."""
    store = await serve_raw(answer(200, b"x" * (8 << 20)))
    with pytest.raises(StoreError, match="bytes came instead of 10"):
        await store.fetch_digest("key", 10)


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 200 OK\r\n", b"\0\0\0\r\n\r\n", b"SSH-2.0\r\n\r\n"]
)
async def test_not_http(raw: bytes, serve_raw: ServeRaw) -> None:
    """What is no HTTP is a broken connection."""
    store = await serve_raw(raw)
    with pytest.raises(StoreUnavailable, match="connection broke"):
        await store.delete("key")


async def test_redirect_is_not_followed(serve_raw: ServeRaw) -> None:
    """A redirect would take the signature elsewhere; it is told, with the right region."""
    store = await serve_raw(
        answer(301, headers="location: http://127.0.0.1:1/\r\nx-amz-bucket-region: eu-x-1\r\n")
    )
    with pytest.raises(StoreRejected, match=r"another region \(region eu-x-1\)") as caught:
        await store.delete("key")
    assert "aws.region" in caught.value.remedy


async def test_file_that_shrank(start_bucket: Start, store_of: Open, content_of: ContentOf) -> None:
    """A file that is shorter than when it was hashed is an error of the disk, and nothing is there."""
    bucket = await start_bucket()
    content = await content_of(b"rows")
    content.path.write_bytes(b"ro")
    with pytest.raises(DiskError, match="2 bytes shorter"):
        await store_of(bucket).put("key", content)
    assert not bucket.objects


async def test_file_that_changed(
    start_bucket: Start, store_of: Open, content_of: ContentOf
) -> None:
    """A file that changed since it was hashed is refused by the signature."""
    bucket = await start_bucket()
    content = await content_of(b"rows")
    await content.digest()
    content.path.write_bytes(b"ROWS")
    with pytest.raises(StoreUnavailable, match="XAmzContentSHA256Mismatch"):
        await store_of(bucket).put("key", content)
    assert not bucket.objects


async def test_file_that_is_gone(
    start_bucket: Start, store_of: Open, content_of: ContentOf
) -> None:
    """A file that is not there is told as the system does."""
    content = await content_of(b"rows")
    content.path.unlink()
    with pytest.raises(FileNotFoundError):
        await store_of(await start_bucket()).put("key", content)


async def test_error_in_success(serve_raw: ServeRaw, content_of: ContentOf) -> None:
    """A status of 200 with an error in the body is an error."""
    store = await serve_raw(answer(200, b"<Error><Code>InternalError</Code></Error>"))
    with pytest.raises(StoreUnavailable, match="200 InternalError"):
        await store.put("key", await content_of(b"rows"))


async def test_store_that_lacks_checks(serve_raw: ServeRaw, content_of: ContentOf) -> None:
    """Conditions and checksums that a store does not know (501) are given up, one by one."""
    lacking = answer(501, b"<Error><Code>NotImplemented</Code></Error>")
    store = await serve_raw(lacking, lacking, answer(200, headers='etag: "abc"\r\n'))
    with capture_logs() as entries:
        put = await store.put("key", await content_of(b"rows"))
    assert put.etag == "abc"
    assert [each["header"] for each in entries] == ["if-none-match", "x-amz-checksum-sha256"]


async def test_store_that_lacks_everything(serve_raw: ServeRaw, content_of: ContentOf) -> None:
    """Where there is nothing to give up it is a refusal."""
    lacking = answer(501, b"<Error><Code>NotImplemented</Code></Error>")
    store = await serve_raw(*[lacking] * 3)
    with pytest.raises(StoreRejected, match="501 NotImplemented"):
        await store.put("key", await content_of(b"rows"))


async def test_bucket_that_may_not_be_seen(start_bucket: Start, store_of: Open) -> None:
    """HEAD says 403 and nothing else; GET tells why."""
    bucket = await start_bucket(denied=frozenset({Operation.HEAD_OBJECT, Operation.GET_OBJECT}))
    with pytest.raises(StoreRejected, match="403 AccessDenied") as caught:
        await store_of(bucket).head("key")
    assert caught.value.code == "AccessDenied"


async def test_expired_keys_are_looked_for_anew(start_bucket: Start) -> None:
    """Once the store finds a token too old, the next attempt asks for keys again."""
    bucket = await start_bucket()
    aws = AwsSection(region=bucket.region, bucket=bucket.bucket, endpoint_url=bucket.endpoint_url)
    keys = CredentialChain(
        {"AWS_ACCESS_KEY": bucket.access_key, "AWS_SECRET_KEY": bucket.secret_key}
    )
    forgotten = []
    keys.forget = lambda: forgotten.append(True)  # type: ignore[method-assign]  # to be noticed
    bucket.credentials[bucket.access_key] = Credential(bucket.secret_key, None, expires_at=1.0)
    store = S3Store(aws, Client(aws, keys, ssl.create_default_context()))
    with pytest.raises(StoreUnavailable, match="Expired"):
        await store.delete("key")
    assert forgotten


async def test_secrets_are_taken_out(serve_raw: ServeRaw) -> None:
    """A store that sends back what it was sent does not make us log it."""
    store = await serve_raw(
        answer(403, b"<Error><Code>AccessDenied</Code><Message>b, you said</Message></Error>")
    )
    with pytest.raises(StoreRejected, match=r"\*\*\*"):
        await store.delete("key")


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


async def test_cancelled(start_bucket: Start, store_of: Open, content_of: ContentOf) -> None:
    """A cancelled call lets go at once."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(Fault.STALLED_REPLY,)))
    content = await content_of(b"rows")
    assert await put_and_cancel(store_of(bucket), content, bucket, 1)


# ---- in parts ----


@pytest.fixture
async def large(content_of: ContentOf, small_parts: int) -> LocalFile:
    return await content_of(os.urandom(4 * small_parts))


async def test_part_is_sent_again(
    fast_clock: trio.testing.MockClock, start_bucket: Start, store_of: Open, large: LocalFile
) -> None:
    """A part that fails does not cost the others."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(None, Fault.CUT_BODY, Fault.RESET, Fault.CUT_BODY)))
    await store_of(bucket).put("key", large)
    creations = [r for r in bucket.requests if r.operation is Operation.CREATE_UPLOAD]
    assert len(creations) == 1
    assert bucket.objects["key"].etag == f'"{(await large.digest_with_md5()).etag}"'


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.ERROR_IN_200, StoreUnavailable), (Fault.CONFLICT, StoreUnavailable)],
)
async def test_completing_fails(
    fast_clock: trio.testing.MockClock,
    fault: Fault,
    kind: type[StoreError],
    start_bucket: Start,
    store_of: Open,
    large: LocalFile,
) -> None:
    """Completing may fail with any status; the upload is aborted."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(fault,)))
    if fault is Fault.CONFLICT:
        bucket.set_faults(FaultScript(plan=(None, None, None, None, None, fault)))
    with pytest.raises(kind, match="CompleteMultipartUpload"):
        await store_of(bucket).put("key", large)
    assert not bucket.objects
    assert not bucket.uploads


async def test_refused_part(
    fast_clock: trio.testing.MockClock, start_bucket: Start, store_of: Open, large: LocalFile
) -> None:
    """A part that may not be put ends the upload, which is aborted."""
    bucket = await start_bucket(denied=frozenset({Operation.UPLOAD_PART}))
    with pytest.raises(StoreRejected, match="UploadPart key: 403 AccessDenied"):
        await store_of(bucket).put("key", large)
    assert not bucket.uploads


async def test_taken_name(
    start_bucket: Start, store_of: Open, large: LocalFile, content_of: ContentOf
) -> None:
    """A name that is taken is refused at the end, and no part stays."""
    bucket = await start_bucket()
    store = store_of(bucket)
    await store.put("key", await content_of(b"rows"))
    with pytest.raises(ObjectExists):
        await store.put("key", large)
    assert not bucket.uploads


async def test_cancelled_parts(start_bucket: Start, store_of: Open, large: LocalFile) -> None:
    """A cancelled upload is aborted on the way out, which takes a moment."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(None, Fault.STALLED_REPLY)))
    assert await put_and_cancel(store_of(bucket), large, bucket, 2)
    assert not bucket.uploads
    assert not bucket.objects


async def test_abort_has_an_end(
    fast_clock: trio.testing.MockClock, start_bucket: Start, store_of: Open, large: LocalFile
) -> None:
    """A store that is gone does not hold up the end of the process; a word says what is left."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(None,), rate=1.0, kinds=(Fault.CLOSED,)))
    with capture_logs() as entries, trio.fail_after(60), pytest.raises(StoreUnavailable):
        await store_of(bucket).put("key", large)
    assert "upload in parts not aborted" in [each["event"] for each in entries]
    assert bucket.uploads


def test_deadline_grows() -> None:
    """A large body has more time: 64 KiB a second are still called progress."""
    assert http.deadline_s(0) == 60
    assert http.deadline_s(64 << 20) == 60 + 1024
