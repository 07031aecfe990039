"""A large file goes in parts: all of them, or nothing stays behind."""

import os
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.support.bucket import (
    Bucket,
    Fault,
    FaultScript,
    Operation,
)
from tests.support.stores import put_and_cancel
from trio_collector.errors import (
    ObjectExists,
    StoreError,
    StoreRejected,
    StoreUnavailable,
)
from trio_collector.store.local_file import LocalFile
from trio_collector.store.s3 import S3Store

ContentOf = Callable[[bytes], Awaitable[LocalFile]]
Open = Callable[..., S3Store]
Start = Callable[..., Awaitable[Bucket]]


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
