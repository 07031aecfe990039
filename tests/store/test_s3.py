"""A bucket of S3: what is read, rejected or denied is told as what it is."""

import pytest

from tests.support.bucket import (
    Operation,
)
from tests.support.stores import ContentOf, OpenStore, RawServers, StartBucket, answer
from trio_collector.errors import (
    DiskError,
    StoreError,
    StoreRejected,
    StoreUnavailable,
)


async def test_longer_object(serve_raw: RawServers) -> None:
    """An object that is longer than expected is not read to its end."""
    store = await serve_raw(answer(200, b"x" * (8 << 20)))
    with pytest.raises(StoreError, match="bytes came instead of 10"):
        await store.fetch_digest("key", 10)


async def test_file_that_shrank(
    start_bucket: StartBucket, store_of: OpenStore, content_of: ContentOf
) -> None:
    """A file that is shorter than when it was hashed is an error of the disk, and nothing is there."""
    bucket = await start_bucket()
    content = await content_of(b"rows")
    content.path.write_bytes(b"ro")
    with pytest.raises(DiskError, match="2 bytes shorter"):
        await store_of(bucket).put("key", content)
    assert not bucket.objects


async def test_file_that_changed(
    start_bucket: StartBucket, store_of: OpenStore, content_of: ContentOf
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
    start_bucket: StartBucket, store_of: OpenStore, content_of: ContentOf
) -> None:
    """A file that is not there is told as the system does."""
    content = await content_of(b"rows")
    content.path.unlink()
    with pytest.raises(FileNotFoundError):
        await store_of(await start_bucket()).put("key", content)


async def test_bucket_that_may_not_be_seen(start_bucket: StartBucket, store_of: OpenStore) -> None:
    """HEAD says 403 and nothing else; GET tells why."""
    bucket = await start_bucket(denied=frozenset({Operation.HEAD_OBJECT, Operation.GET_OBJECT}))
    with pytest.raises(StoreRejected, match="403 AccessDenied") as caught:
        await store_of(bucket).head("key")
    assert caught.value.code == "AccessDenied"
