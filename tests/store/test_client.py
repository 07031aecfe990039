"""A response is a success, or one StoreError that says what is wrong and gives no secret away."""

import hashlib
import ssl
import threading

import pytest
import trio
from structlog.testing import capture_logs

from tests.support.bucket import (
    Credential,
    Fault,
    FaultScript,
)
from tests.support.stores import KEYS, ContentOf, OpenStore, RawServers, StartBucket, answer
from trio_collector import __version__
from trio_collector.config.settings import AwsSection
from trio_collector.errors import (
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.store.client import Client, FilePart, S3Request
from trio_collector.store.credentials import AccessKeys, CredentialChain
from trio_collector.store.digest import Part
from trio_collector.store.responses import StoreResponse
from trio_collector.store.s3 import S3Store


async def test_retry_after(
    start_bucket: StartBucket, store_of: OpenStore, content_of: ContentOf
) -> None:
    """The store's wish to be left alone is passed on."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(Fault.SLOW_DOWN,), retry_after_s=17))
    with pytest.raises(StoreThrottling) as caught:
        await store_of(bucket).put("key", await content_of(b"rows"))
    assert caught.value.retry_after_s == 17
    assert caught.value.request_id


async def test_error_in_success(serve_raw: RawServers, content_of: ContentOf) -> None:
    """A status of 200 with an error in the body is an error."""
    store = await serve_raw(answer(200, b"<Error><Code>InternalError</Code></Error>"))
    with pytest.raises(StoreUnavailable, match="200 InternalError"):
        await store.put("key", await content_of(b"rows"))


async def test_store_that_lacks_checks(serve_raw: RawServers, content_of: ContentOf) -> None:
    """Conditions and checksums that a store does not know (501) are given up, one by one."""
    lacking = answer(501, b"<Error><Code>NotImplemented</Code></Error>")
    store = await serve_raw(lacking, lacking, answer(200, headers='etag: "abc"\r\n'))
    with capture_logs() as entries:
        put = await store.put("key", await content_of(b"rows"))
    assert put.etag == "abc"
    assert [each["header"] for each in entries] == ["if-none-match", "x-amz-checksum-sha256"]


async def test_store_that_lacks_everything(serve_raw: RawServers, content_of: ContentOf) -> None:
    """Where there is nothing to give up it is a refusal."""
    lacking = answer(501, b"<Error><Code>NotImplemented</Code></Error>")
    store = await serve_raw(*[lacking] * 3)
    with pytest.raises(StoreRejected, match="501 NotImplemented"):
        await store.put("key", await content_of(b"rows"))


async def test_expired_keys_are_looked_for_anew(start_bucket: StartBucket) -> None:
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


async def test_secrets_are_taken_out(serve_raw: RawServers) -> None:
    """A store that sends back what it was sent does not make us log it."""
    store = await serve_raw(
        answer(403, b"<Error><Code>AccessDenied</Code><Message>hidden, you said</Message></Error>")
    )
    with pytest.raises(StoreRejected, match=r"\*\*\*"):
        await store.delete("key")


async def test_request_on_the_wire(serve_raw: RawServers, content_of: ContentOf) -> None:
    """A body has its length and hash, and what is asked for comes as it is, in no encoding."""
    store = await serve_raw(answer(200), answer(204), answer(200, b"rows"))
    await store.put("a b", await content_of(b"rows"))
    await store.delete("key")
    await store.fetch_digest("key", 4)
    put, delete, get = [head.decode().split("\r\n") for head in serve_raw.heads]
    assert put[0] == "put /rows/a%20b http/1.1"
    assert "content-length: 4" in put
    assert f"x-amz-content-sha256: {hashlib.sha256(b'rows').hexdigest()}" in put
    assert delete[0] == "delete /rows/key http/1.1"
    assert not [line for line in [*delete, *get] if line.startswith("content-length")]
    assert f"x-amz-content-sha256: {hashlib.sha256(b'').hexdigest()}" in delete
    for head in (put, delete, get):
        assert "accept-encoding: identity" in head
        assert f"user-agent: trio_collector/{__version__}" in head
        assert len([line for line in head if line.startswith("host: 127.0.0.1:")]) == 1
        assert "signedheaders=" in "".join(head)


async def test_lacking_check_is_remembered(serve_raw: RawServers, content_of: ContentOf) -> None:
    """What a store lacks is not sent to it again, and nothing else is left out."""
    lacking = answer(501, b"<Error><Code>NotImplemented</Code></Error>")
    store = await serve_raw(lacking, answer(200), answer(200))
    content = await content_of(b"rows")
    await store.put("one", content)
    await store.put("two", content)
    sent = [
        (b"if-none-match: *" in head, b"x-amz-checksum-sha256:" in head) for head in serve_raw.heads
    ]
    assert sent == [(True, True), (False, True), (False, True)]


async def test_missing_operation(serve_raw: RawServers) -> None:
    """A request without an optional header is not repeated."""
    store = await serve_raw(answer(501), answer(204))
    with pytest.raises(StoreRejected, match="DeleteObject key: 501"):
        await store.delete("key")
    assert len(serve_raw.heads) == 1


@pytest.mark.parametrize(
    ("code", "is_stale"),
    [
        *[(code, True) for code in ("ExpiredToken", "ExpiredTokenException")],
        ("TokenRefreshRequired", True),
        ("AccessDenied", False),
        ("InvalidAccessKeyId", False),
    ],
)
async def test_which_keys_are_too_old(code: str, is_stale: bool) -> None:
    """Only keys that have expired are looked for anew."""
    keys = CredentialChain(KEYS)
    forgotten = []
    keys.forget = lambda: forgotten.append(True)  # type: ignore[method-assign]  # to be noticed
    client = Client(AwsSection(), keys, ssl.create_default_context(), lambda: 7.0)
    body = b"<Error><Code>%s</Code></Error>" % code.encode()
    error = client.error_of(S3Request("HeadBucket", "HEAD"), StoreResponse(403, {}, body))
    assert error.code == code
    assert bool(forgotten) == is_stale


async def test_clock_of_the_client() -> None:
    """Errors that depend on the time are judged by the client's clock."""
    keys = CredentialChain(KEYS)
    client = Client(AwsSection(), keys, ssl.create_default_context(), lambda: 1_795_348_800.0)
    headers = {"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}
    error = client.error_of(S3Request("HeadBucket", "HEAD"), StoreResponse(503, headers))
    assert error.retry_after_s == 30
    assert str(error).startswith("HeadBucket: 503")


async def test_credentials_that_do_not_come(autojump_clock: object) -> None:
    """A source of keys that does not answer is given up after a minute, and may be asked again."""
    waiting = threading.Event()

    class SilentChain(CredentialChain):
        def freeze(self) -> AccessKeys:
            waiting.wait(10)
            raise StoreUnavailable("too late")

    client = Client(AwsSection(), SilentChain(KEYS), ssl.create_default_context())
    try:
        with pytest.raises(StoreUnavailable, match="no credentials after 60 s"):
            await client.send(S3Request("HeadBucket", "HEAD"))
        assert trio.current_time() == 60
    finally:
        waiting.set()


def test_request() -> None:
    """A request knows its size and hash, and is told by what S3 calls it."""
    request = S3Request("PutObject", "PUT", "key", body=b"rows")
    assert (str(request), request.size) == ("PutObject key", 4)
    assert request.sha256 == hashlib.sha256(b"rows").hexdigest()
    assert str(S3Request("HeadBucket", "HEAD")) == "HeadBucket"


async def test_request_with_a_part_of_a_file(content_of: ContentOf) -> None:
    """The size and hash of a part are its own, not those of the file."""
    content = await content_of(b"0123456789")
    part = Part(2, 3, 4)
    body = FilePart(content, part, await content.sha256(part))
    request = S3Request("UploadPart", "PUT", "key", body=body)
    assert (request.size, request.sha256) == (4, hashlib.sha256(b"3456").hexdigest())
