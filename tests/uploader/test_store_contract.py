"""What every store keeps to: the simulated bucket, OpenStack Swift, and the tests' in memory."""

import hashlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.bucket import Bucket
from tests.support.delivery import facts_of
from tests.support.stores import ContentOf, OpenStore
from trio_collector.errors import BucketMissing, IntegrityError, ObjectExists, StoreRejected
from trio_collector.layout import encode_name
from trio_collector.store.object_store import ObjectStore
from trio_collector.uploader.verification import Proof, contradiction, plan_verification

SYMBOLS = ["btcusdt", "BTC/USDT", "..", "名", "a b", "a+b=c:d", "%41", "~", "*'()!$&,;@?#"]


with_a_server = pytest.mark.parametrize("place", ["simulated", "swift"], indirect=True)


@pytest.fixture(params=["simulated", "swift", "memory"])
async def place(
    request: pytest.FixtureRequest, start_bucket: Callable[..., Awaitable[Bucket]]
) -> Any:
    """Where the store is; each test has a bucket of its own, which nobody has created yet."""
    if request.param == "memory":
        return request.getfixturevalue("memory_store")
    name = f"contract-{hashlib.sha256(request.node.name.encode()).hexdigest()[:20]}"
    if request.param == "swift":
        return {**request.getfixturevalue("swift"), "bucket": name}
    return await start_bucket(bucket=name, is_created=False)


@pytest.fixture
async def store(place: Any, store_of: OpenStore) -> ObjectStore:
    store: ObjectStore = store_of(place) if isinstance(place, Bucket | dict) else place
    await store.ensure_bucket()
    return store


async def test_put_and_look(store: ObjectStore, content_of: ContentOf) -> None:
    """What was put is there, proven by what HEAD says, and reads back as it was."""
    content = await content_of(b"rows")
    assert await store.head("a/b.parquet") is None
    put = await store.put("a/b.parquet", content)
    assert contradiction(await content.digest_with_md5(), put) is None
    head = await store.head("a/b.parquet")
    assert head is not None
    assert plan_verification(await content.digest_with_md5(), head) is Proof.PROVEN
    assert await store.fetch_digest("a/b.parquet", 4) == await content.digest_with_md5()


async def test_nothing_is_overwritten(store: ObjectStore, content_of: ContentOf) -> None:
    """A name that is taken is refused, whatever the content is."""
    content = await content_of(b"rows")
    await store.put("a/b.parquet", content)
    for body in (b"rows", b"other"):
        with pytest.raises(ObjectExists):
            await store.put("a/b.parquet", await content_of(body))
    assert await store.fetch_digest("a/b.parquet", 4) == await content.digest_with_md5()


async def test_empty_file(store: ObjectStore, content_of: ContentOf) -> None:
    """A file may be empty."""
    content = await content_of(b"")
    await store.put("empty", content)
    assert await store.fetch_digest("empty", 0) == await content.digest_with_md5()


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_any_name(symbol: str, store: ObjectStore, content_of: ContentOf) -> None:
    """Any symbol can be part of a key, encoded as the layout does, and mostly also as it is."""
    content = await content_of(b"rows")
    keys = [f"binance/{encode_name(symbol)}/trade"]
    if symbol != "..":
        keys.append(f"binance/{symbol}/status")
    for key in keys:
        await store.put(key, content)
        assert await store.fetch_digest(key, 4) == await content.digest_with_md5()


async def test_parts(store: ObjectStore, content_of: ContentOf, small_parts: int) -> None:
    """A large file goes in parts, and is proven without being read back."""
    content = await content_of(os.urandom(2 * small_parts + 1))
    assert len(content.parts) == 3
    put = await store.put("large", content)
    assert contradiction(await content.digest_with_md5(), put) is None
    head = await store.head("large")
    assert head is not None
    assert plan_verification(await content.digest_with_md5(), head) is Proof.PROVEN
    assert await store.fetch_digest("large", content.size) == await content.digest_with_md5()


async def test_parts_overwrite_nothing(
    store: ObjectStore, content_of: ContentOf, small_parts: int
) -> None:
    """Completing an upload in parts is refused where the name is taken."""
    small = await content_of(b"rows")
    await store.put("large", small)
    with pytest.raises(ObjectExists):
        await store.put("large", await content_of(os.urandom(2 * small_parts)))
    assert await store.fetch_digest("large", 4) == await small.digest_with_md5()


async def test_wrong_size_of_what_is_fetched(store: ObjectStore, content_of: ContentOf) -> None:
    """An object that has another size than was said is noticed."""
    await store.put("key", await content_of(b"rows"))
    for size in (3, 5):
        with pytest.raises(IntegrityError, match=f"4 bytes came instead of {size}"):
            await store.fetch_digest("key", size)


@with_a_server
async def test_bucket_is_created(place: Any, store_of: OpenStore, content_of: ContentOf) -> None:
    """A bucket that is missing is created if it may be, and only then."""
    careful = store_of(place, create_bucket=False)
    with pytest.raises(BucketMissing) as caught:
        await careful.ensure_bucket()
    assert "create it" in caught.value.remedy
    with pytest.raises(BucketMissing, match="NoSuchBucket"):
        await careful.put("key", await content_of(b"rows"))
    for _ in range(2):
        await store_of(place).ensure_bucket()
    await careful.ensure_bucket()


@with_a_server
async def test_wrong_secret(place: Any, store_of: OpenStore, content_of: ContentOf) -> None:
    """A signature by another secret is refused for good, and HEAD finds out why."""
    await store_of(place).ensure_bucket()
    facts = place if isinstance(place, dict) else facts_of(place)
    store = store_of({**facts, "secret_key": "another"})
    for call in (store.put("key", await content_of(b"rows")), store.head("key")):
        with pytest.raises(StoreRejected) as caught:
            await call
        assert caught.value.code == "SignatureDoesNotMatch"
        assert "secret key" in caught.value.remedy


async def test_unknown_key(
    start_bucket: Callable[..., Awaitable[Bucket]], store_of: OpenStore, content_of: ContentOf
) -> None:
    """An access key that the store does not know is refused for good, and HEAD finds out why."""
    bucket = await start_bucket()
    bucket.credentials.clear()
    store = store_of(bucket)
    for call in (store.put("key", await content_of(b"rows")), store.head("key")):
        with pytest.raises(StoreRejected) as caught:
            await call
        assert caught.value.code == "InvalidAccessKeyId"
        assert "access key" in caught.value.remedy


async def test_delete(store: ObjectStore, content_of: ContentOf) -> None:
    """What was deleted is gone."""
    await store.put("key", await content_of(b"rows"))
    await store.delete("key")
    assert await store.head("key") is None
