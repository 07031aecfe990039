"""What the tests of the uploader share: sealed files in a spool."""

import hashlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest

from trio_collector.config import AwsSection
from trio_collector.simulator.bucket import Bucket
from trio_collector.uploader import digest
from trio_collector.uploader.client import Client
from trio_collector.uploader.content import Content, open_content
from trio_collector.uploader.credentials import CredentialChain
from trio_collector.uploader.s3 import S3Store
from trio_collector.uploader.spool import SealedFile

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


@pytest.fixture
def content_of(tmp_path: Path) -> Callable[[bytes], Awaitable[Content]]:
    """Write a file and say what is in it."""

    async def write(body: bytes) -> Content:
        path = tmp_path / f"{len(body)}-{hashlib.sha256(body).hexdigest()[:8]}"
        path.write_bytes(body)
        return await open_content(path)

    return write


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let files above 6 MiB go in parts of 5 MiB, the least that a store takes."""
    monkeypatch.setattr(digest, "MULTIPART_ABOVE_BYTES", 6 << 20)
    monkeypatch.setattr(digest, "PART_BYTES", 5 << 20)
    return 5 << 20
