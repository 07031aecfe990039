"""What the tests of the uploader share: sealed files in a spool, stores, and workers without threads."""

import hashlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec
import pytest
import trio

from tests.support.bucket import Bucket
from trio_collector.config.settings import AwsSection
from trio_collector.errors import IntegrityError, ObjectExists
from trio_collector.store import digest
from trio_collector.store.client import Client
from trio_collector.store.credentials import CredentialChain
from trio_collector.store.digest import Digest, Hasher
from trio_collector.store.local_file import LocalFile, open_local_file
from trio_collector.store.object_store import ObjectInfo
from trio_collector.store.s3 import S3Store
from trio_collector.threads import Workers
from trio_collector.uploader.spool import SealedFile

T = TypeVar("T")

DAY = "binance/btcusdt/trade/2026-11-22"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def seal(spool: Path) -> Callable[..., SealedFile]:
    """Put a file into the spool, called after its first millisecond."""

    def seal(first_ms: int, content: bytes = b"rows", folder: str = DAY) -> SealedFile:
        key = PurePosixPath(folder) / f"{first_ms}.parquet"
        path = spool / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return SealedFile(path, key)

    return seal


@pytest.fixture
def store_of() -> Callable[..., S3Store]:
    """Open the bucket of a simulated store or a real one; keywords change the configuration."""

    def open_store(place: Bucket | Mapping[str, str], **changes: Any) -> S3Store:
        facts = place if isinstance(place, Mapping) else facts_of(place)
        aws = AwsSection(
            region=facts["region"], bucket=facts["bucket"], endpoint_url=facts["endpoint_url"]
        )
        keys = {"AWS_ACCESS_KEY": facts["access_key"], "AWS_SECRET_KEY": facts["secret_key"]}
        context = ssl.create_default_context()
        if isinstance(place, Bucket) and place.ca_pem:
            context.load_verify_locations(cadata=place.ca_pem.decode())
        aws = msgspec.structs.replace(aws, **changes)
        return S3Store(aws, Client(aws, CredentialChain(keys), context))

    return open_store


def facts_of(bucket: Bucket) -> dict[str, str]:
    """Return where a simulated bucket is, as the fixture `swift` says it of a real one."""
    names = ("endpoint_url", "access_key", "secret_key", "region", "bucket")
    return {name: getattr(bucket, name) for name in names}


class MemoryStore:
    """A bucket in memory, which records its calls in their order.

    `befall` is awaited before each call, with its name and key: it may raise, wait, or pass.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[float, str, str]] = []  # when, what, and about which key
        self.befall: Callable[[str, str], Awaitable[None]] = self.pass_by

    @staticmethod
    async def pass_by(_call: str, _key: str) -> None:
        """Let a call pass: the usual `befall`."""
        await trio.lowlevel.checkpoint()

    def keys_of(self, call: str) -> list[str]:
        """Return the keys that `call` was about, in the order of the calls."""
        return [key for _time, name, key in self.calls if name == call]

    async def ensure_bucket(self) -> None:
        await self._begin("ensure_bucket", "")

    async def put(self, key: str, content: LocalFile) -> ObjectInfo:
        await self._begin("put", key)
        body = bytearray()
        for part in content.parts:
            async with content.body(part) as chunks:
                async for chunk in chunks:
                    body += chunk
        if key in self.objects:
            raise ObjectExists(key)
        self.objects[key] = bytes(body)
        return self._stored(key)

    async def head(self, key: str) -> ObjectInfo | None:
        await self._begin("head", key)
        return self._stored(key) if key in self.objects else None

    async def fetch_digest(self, key: str, size: int) -> Digest:
        await self._begin("fetch_digest", key)
        held = len(self.objects[key])
        if held != size:
            raise IntegrityError(f"{held} bytes came instead of {size}")
        return self._digest(key)

    async def delete(self, key: str) -> None:
        await self._begin("delete", key)
        self.objects.pop(key, None)

    async def _begin(self, call: str, key: str) -> None:
        self.calls.append((trio.current_time(), call, key))
        await self.befall(call, key)

    def _digest(self, key: str) -> Digest:
        hasher = Hasher(len(self.objects[key]))
        hasher.feed(self.objects[key])
        return hasher.finish()

    def _stored(self, key: str) -> ObjectInfo:
        digest = self._digest(key)
        return ObjectInfo(digest.size, digest.checksum, digest.etag)


@pytest.fixture
def memory_store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def inline_workers() -> Workers:
    """Workers without threads: on a virtual clock, time stands still while they work."""

    async def work(task: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        return task()

    return Workers(work, work)


@pytest.fixture
def content_of(tmp_path: Path) -> Callable[[bytes], Awaitable[LocalFile]]:
    """Write a file and say what is in it."""

    async def write(body: bytes) -> LocalFile:
        path = tmp_path / f"{len(body)}-{hashlib.sha256(body).hexdigest()[:8]}"
        path.write_bytes(body)
        return await open_local_file(path)

    return write


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let files above 6 MiB go in parts of 5 MiB, the least that a store takes."""
    monkeypatch.setattr(digest, "MULTIPART_ABOVE_BYTES", 6 << 20)
    monkeypatch.setattr(digest, "PART_BYTES", 5 << 20)
    return 5 << 20
