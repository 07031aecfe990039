"""The delivery of one file: proven to be in the store, under one name, whatever the store says."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.bucket import Bucket, Fault, FaultScript, Operation
from tests.support.delivery import MemoryStore, facts_of
from tests.support.delivery_disk import FaultyDisk
from tests.support.stores import OpenStore
from trio_collector.errors import IntegrityError, StoreError, StoreRejected, StoreUnavailable
from trio_collector.store import local_file
from trio_collector.store.local_file import LocalFile, hash_part
from trio_collector.store.object_store import ObjectInfo
from trio_collector.uploader.delivery import Upload
from trio_collector.uploader.spool import SealedFile

Seal = Callable[..., SealedFile]

FIRST_MS = 1_795_348_800_100


@pytest.fixture
async def bucket(start_bucket: Any) -> Bucket:
    bucket: Bucket = await start_bucket()
    return bucket


@pytest.fixture
def upload_of(bucket: Bucket, store_of: OpenStore) -> Callable[[SealedFile], Upload]:
    return lambda sealed: Upload(sealed, store_of(bucket))


UploadOf = Callable[[SealedFile], Upload]


def operations(bucket: Bucket) -> list[str]:
    return [served.operation.name for served in bucket.requests if served.operation]


def contents(bucket: Bucket) -> dict[str, bytes | None]:
    return {key: stored.content for key, stored in bucket.objects.items()}


async def test_look_put_verify(seal: Seal, bucket: Bucket, upload_of: UploadOf) -> None:
    """One look, one PUT, and a HEAD that proves it."""
    sealed = seal(FIRST_MS)
    key, delivered = await upload_of(sealed).attempt()
    assert (key, delivered.size) == (sealed.key, 4)
    assert contents(bucket) == {str(sealed.key): b"rows"}
    assert operations(bucket) == ["HEAD_OBJECT", "PUT_OBJECT", "HEAD_OBJECT"]
    assert sealed.path.exists()


async def test_delivered_before(seal: Seal, bucket: Bucket, upload_of: UploadOf) -> None:
    """What an earlier process has delivered is found, and not sent again."""
    sealed = seal(FIRST_MS)
    await upload_of(sealed).attempt()
    bucket.requests.clear()
    key, _ = await upload_of(sealed).attempt()
    assert key == sealed.key
    assert operations(bucket) == ["HEAD_OBJECT"]


async def test_name_of_others(seal: Seal, bucket: Bucket, upload_of: UploadOf) -> None:
    """A name that other content has moves on to the next millisecond, for this and every process."""
    await upload_of(seal(FIRST_MS, b"others")).attempt()
    await upload_of(seal(FIRST_MS + 1, b"theirs")).attempt()
    sealed = seal(FIRST_MS, b"rows")
    for _ in range(2):
        key, _ = await upload_of(sealed).attempt()
        assert key.name == f"{FIRST_MS + 2}.parquet"
    assert sorted(map(str, contents(bucket).values())) == sorted(
        map(str, [b"others", b"theirs", b"rows"])
    )


@pytest.mark.parametrize(
    "fault",
    [
        Fault.LOST_REPLY,
        Fault.ERROR_AFTER,
        Fault.CUT_REPLY,
        Fault.FALSE_ETAG,
        Fault.FALSE_CHECKSUM,
    ],
)
async def test_put_that_was_done_all_the_same(
    fault: Fault, seal: Seal, bucket: Bucket, upload_of: UploadOf
) -> None:
    """An answer that is lost or wrong fails the attempt; the next finds the file in its place."""
    sealed = seal(FIRST_MS)
    upload = upload_of(sealed)
    bucket.set_faults(FaultScript(plan=(None, fault)))
    with pytest.raises((StoreUnavailable, IntegrityError)):
        await upload.attempt()
    key, _ = await upload.attempt()
    assert key == sealed.key
    assert list(bucket.objects) == [str(sealed.key)]
    assert operations(bucket).count("PUT_OBJECT") == 1


@pytest.mark.parametrize(
    "fault", [Fault.FALSE_SIZE, Fault.FALSE_CHECKSUM, Fault.FALSE_ETAG, Fault.NOT_FOUND_YET]
)
async def test_head_that_lies_after_put(
    fault: Fault, seal: Seal, bucket: Bucket, upload_of: UploadOf
) -> None:
    """What HEAD says wrongly of what was just put proves nothing; the next attempt does."""
    sealed = seal(FIRST_MS)
    upload = upload_of(sealed)
    bucket.set_faults(FaultScript(plan=(None, None, fault)))
    with pytest.raises(IntegrityError):
        await upload.attempt()
    await upload.attempt()
    assert list(bucket.objects) == [str(sealed.key)]


@pytest.mark.parametrize(
    ("fault", "is_done"),
    [
        (Fault.FALSE_SIZE, False),
        (Fault.FALSE_CHECKSUM, False),
        (Fault.FALSE_ETAG, True),  # need not be an MD5: the content itself counts
    ],
)
async def test_head_that_lies_about_ours(
    fault: Fault, is_done: bool, seal: Seal, bucket: Bucket, upload_of: UploadOf
) -> None:
    """A lie about a file that is there never sends it under a second name."""
    sealed = seal(FIRST_MS)
    await upload_of(sealed).attempt()
    bucket.set_faults(FaultScript(plan=(fault,)))
    try:
        await upload_of(sealed).attempt()
    except IntegrityError:
        assert not is_done
    else:
        assert is_done
    assert list(bucket.objects) == [str(sealed.key)]


async def test_store_that_lies_for_ever(seal: Seal, bucket: Bucket, upload_of: UploadOf) -> None:
    """As long as the store contradicts itself nothing is proven."""
    upload = upload_of(seal(FIRST_MS))
    bucket.set_faults(FaultScript(rate=1.0, kinds=(Fault.FALSE_SIZE,)))
    for _ in range(5):
        with pytest.raises(IntegrityError):
            await upload.attempt()
    assert len(bucket.objects) == 1


async def test_stored_wrongly(seal: Seal, bucket: Bucket, upload_of: UploadOf) -> None:
    """An object that the store spoiled is noticed, left alone, and the file is stored beside it."""
    sealed = seal(FIRST_MS)
    upload = upload_of(sealed)
    bucket.set_faults(FaultScript(plan=(None, Fault.CORRUPTED)))
    with pytest.raises(IntegrityError):
        await upload.attempt()
    with capture_logs() as entries:
        key, _ = await upload.attempt()
    assert key.name == f"{FIRST_MS + 1}.parquet"
    assert contents(bucket)[str(key)] == b"rows"
    assert entries[0]["event"] == "name is taken by other content"


async def test_race(seal: Seal, bucket: Bucket, upload_of: UploadOf) -> None:
    """A name that is taken between look and PUT is compared as well."""
    sealed = seal(FIRST_MS)
    await upload_of(sealed).attempt()
    bucket.set_faults(FaultScript(plan=(Fault.NOT_FOUND_YET,)))
    bucket.requests.clear()
    key, _ = await upload_of(sealed).attempt()
    assert key == sealed.key
    assert operations(bucket) == ["HEAD_OBJECT", "PUT_OBJECT", "HEAD_OBJECT"]


async def test_taken_and_not_there(seal: Seal, bucket: Bucket, upload_of: UploadOf) -> None:
    """A store that contradicts itself about a name is asked again later."""
    sealed = seal(FIRST_MS)
    await upload_of(sealed).attempt()
    bucket.set_faults(FaultScript(plan=(Fault.NOT_FOUND_YET, None, Fault.NOT_FOUND_YET)))
    with pytest.raises(StoreUnavailable, match="taken, says PUT; not there, says HEAD"):
        await upload_of(sealed).attempt()


@pytest.mark.parametrize(
    ("settings", "is_read_back"),
    [
        ({}, False),
        ({"has_checksums": False}, False),
        ({"etags": "kms"}, False),
        ({"etags": "opaque"}, False),
        ({"etags": "kms", "has_checksums": False}, True),
        ({"etags": "opaque", "has_checksums": False}, True),
    ],
)
async def test_cheapest_proof(
    settings: dict[str, Any], is_read_back: bool, seal: Seal, start_bucket: Any, store_of: OpenStore
) -> None:
    """A checksum is enough, and so is an MD5; where there is neither, the file is read back."""
    bucket = await start_bucket(**settings)
    await Upload(seal(FIRST_MS), store_of(bucket)).attempt()
    assert ("GET_OBJECT" in operations(bucket)) == is_read_back


async def test_read_back_with_parts(
    seal: Seal, start_bucket: Any, store_of: OpenStore, small_parts: int
) -> None:
    """A file in parts is read back as well, where nothing else proves it."""
    bucket = await start_bucket(etags="kms", has_checksums=False)
    await Upload(seal(FIRST_MS, bytes(3 * small_parts)), store_of(bucket)).attempt()
    assert "GET_OBJECT" in operations(bucket)


async def test_bucket_is_created_when_it_is_needed(
    seal: Seal, start_bucket: Any, store_of: OpenStore
) -> None:
    """A bucket that is missing is created, and the file put into it."""
    bucket = await start_bucket(is_created=False)
    await Upload(seal(FIRST_MS), store_of(bucket)).attempt()
    assert len(bucket.objects) == 1


async def test_bucket_that_may_not_be_created(
    seal: Seal, start_bucket: Any, store_of: OpenStore
) -> None:
    """A bucket that is missing and not to be created is a refusal."""
    bucket = await start_bucket(is_created=False)
    with pytest.raises(StoreRejected, match="is missing"):
        await Upload(seal(FIRST_MS), store_of(bucket, create_bucket=False)).attempt()


async def test_look_that_is_refused(seal: Seal, start_bucket: Any, store_of: OpenStore) -> None:
    """Without a right to look it puts all the same, and keeps the file, for nothing is proven."""
    looking = frozenset({Operation.HEAD_OBJECT, Operation.GET_OBJECT})
    bucket = await start_bucket(denied=looking)
    with pytest.raises(StoreRejected, match="AccessDenied"):
        await Upload(seal(FIRST_MS), store_of(bucket)).attempt()
    assert len(bucket.objects) == 1


@pytest.mark.parametrize("etags", ["kms", "opaque"])
async def test_put_and_head_disagree(
    etags: str, seal: Seal, start_bucket: Any, store_of: OpenStore
) -> None:
    """Two ETags of one object are a contradiction, also where no ETag is an MD5."""
    bucket = await start_bucket(etags=etags)
    upload = Upload(seal(FIRST_MS), store_of(bucket))
    bucket.set_faults(FaultScript(plan=(None, None, Fault.FALSE_ETAG)))
    with pytest.raises(IntegrityError, match="PUT and HEAD tell of ETag"):
        await upload.attempt()
    await upload.attempt()
    assert len(bucket.objects) == 1


async def test_rejected_look(seal: Seal, bucket: Bucket, store_of: OpenStore) -> None:
    """A look that is rejected for another reason than a missing right ends the attempt."""
    facts = facts_of(bucket) | {"secret_key": "another"}
    with pytest.raises(StoreRejected, match="SignatureDoesNotMatch"):
        await Upload(seal(FIRST_MS), store_of(facts)).attempt()
    assert {served.method for served in bucket.requests} == {"HEAD", "GET"}


class Silent(MemoryStore):
    """A store whose HEAD differs from the truth by `changes`."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes

    async def head(self, key: str) -> ObjectInfo | None:
        info = await super().head(key)
        return info and info._replace(**self.changes)


async def test_head_without_an_etag(seal: Seal) -> None:
    """A store whose HEAD has no ETag proves what it has by the checksum."""
    store = Silent(etag=None)
    sealed = seal(FIRST_MS)
    disk = FaultyDisk()
    key, _ = await Upload(sealed, store, disk=disk).attempt()
    assert (key, list(store.objects)) == (sealed.key, [str(sealed.key)])
    assert not store.keys_of("fetch_digest")
    assert disk.read_bytes == 2 * len(b"rows")  # for SHA-256, and to send it: no MD5 is needed


@pytest.mark.parametrize("hidden", [("size",), ("size", "checksum", "etag")])
async def test_head_without_a_size(hidden: tuple[str, ...], seal: Seal) -> None:
    """What has no size cannot be read back, and proves nothing, be it new or there before."""
    store = Silent(**dict.fromkeys(hidden))
    upload = Upload(seal(FIRST_MS), store)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="HEAD tells no size"):
            await upload.attempt()
    assert len(store.objects) == 1


class Spoiling(Silent):
    """A store that shows nothing but sizes, and spoils what it stores."""

    def __init__(self) -> None:
        super().__init__(checksum=None, etag=None)

    async def put(self, key: str, content: LocalFile) -> ObjectInfo:
        await super().put(key, content)
        self.objects[key] = self.objects[key].swapcase()
        return ObjectInfo()


async def test_other_content_is_read_back(seal: Seal) -> None:
    """What reads back as other content than was sent is not delivered."""
    store = Spoiling()
    sealed = seal(FIRST_MS)
    with pytest.raises(IntegrityError, match="GET returns other content than was stored"):
        await Upload(sealed, store).attempt()
    assert store.objects == {str(sealed.key): b"ROWS"}


async def test_hashes_are_kept(
    seal: Seal, bucket: Bucket, upload_of: UploadOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is hashed once, and again only when it is not what it was."""
    hashed: list[Path] = []

    def note(path: Path, *rest: Any) -> bytes:
        hashed.append(path)
        return hash_part(path, *rest)

    monkeypatch.setattr(local_file, "hash_part", note)
    sealed = seal(FIRST_MS)
    upload = upload_of(sealed)
    bucket.set_faults(FaultScript(plan=(None, Fault.ERROR_BEFORE, None, Fault.ERROR_BEFORE)))
    for _ in range(2):
        with pytest.raises(StoreError):
            await upload.attempt()
    assert len(hashed) == 1
    sealed.path.write_bytes(b"more rows")
    await upload.attempt()
    assert len(hashed) == 1 + 2  # SHA-256, and of the new version MD5 as well, to compare the ETag
    assert contents(bucket) == {str(sealed.key): b"more rows"}


async def test_large_file(
    seal: Seal, bucket: Bucket, upload_of: UploadOf, small_parts: int
) -> None:
    """A file in parts whose end was lost is found by the next attempt."""
    sealed = seal(FIRST_MS, bytes(3 * small_parts))
    upload = upload_of(sealed)
    bucket.set_faults(FaultScript(plan=(None, *[None] * 4, Fault.LOST_REPLY)))
    with pytest.raises(StoreUnavailable):
        await upload.attempt()
    key, _ = await upload.attempt()
    assert key == PurePosixPath(sealed.key)
    assert len(bucket.objects) == 1
    assert not bucket.uploads
