"""A response is a success, or one StoreError that says what is wrong and gives no secret away."""

import ssl
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from tests.support.bucket import (
    Bucket,
    Credential,
    Fault,
    FaultScript,
)
from tests.support.stores import RawServers, answer
from trio_collector.config.settings import AwsSection
from trio_collector.errors import (
    StoreRejected,
    StoreThrottling,
    StoreUnavailable,
)
from trio_collector.store.client import Client
from trio_collector.store.credentials import CredentialChain
from trio_collector.store.local_file import LocalFile
from trio_collector.store.s3 import S3Store

ContentOf = Callable[[bytes], Awaitable[LocalFile]]
Open = Callable[..., S3Store]
Start = Callable[..., Awaitable[Bucket]]


async def test_retry_after(start_bucket: Start, store_of: Open, content_of: ContentOf) -> None:
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


async def test_secrets_are_taken_out(serve_raw: RawServers) -> None:
    """A store that sends back what it was sent does not make us log it."""
    store = await serve_raw(
        answer(403, b"<Error><Code>AccessDenied</Code><Message>b, you said</Message></Error>")
    )
    with pytest.raises(StoreRejected, match=r"\*\*\*"):
        await store.delete("key")
