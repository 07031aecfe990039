"""A file is hashed part by part, and what happens to it meanwhile is told."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.delivery_disk import FaultyDisk
from trio_collector.disk import LOCAL_DISK
from trio_collector.errors import DiskError
from trio_collector.store.body import CHUNK_BYTES
from trio_collector.store.digest import Digest, Hasher, Part
from trio_collector.store.local_file import LocalFile, file_stamp, hash_part, open_local_file
from trio_collector.telemetry import metrics
from trio_collector.threads import Workers

T = TypeVar("T")


def identify(body: bytes) -> Digest:
    hasher = Hasher(len(body))
    hasher.feed(body)
    return hasher.finish()


async def test_file(tmp_path: Path, small_parts: int) -> None:
    """A file is hashed by its parts, side by side, with the same result."""
    path = tmp_path / "file"
    body = bytes(range(256)) * (3 * small_parts // 256)
    path.write_bytes(body)
    content = await open_local_file(path)
    assert len(content.parts) == 3
    assert content.size == len(body)
    assert await content.digest() == identify(body)._replace(etag=None)
    assert await content.digest_with_md5() == identify(body)


def test_file_that_shrank(tmp_path: Path) -> None:
    """A file that is shorter than a moment ago is an error of the disk."""
    path = tmp_path / "file"
    path.write_bytes(b"ab")
    with pytest.raises(DiskError, match="1 bytes shorter"):
        hash_part(path, Part(1, 0, 3), hashlib.sha256())


async def test_file_that_is_gone(tmp_path: Path) -> None:
    """A file that goes while it is hashed is told as the system does, without a group around it."""
    path = tmp_path / "file"
    path.write_bytes(b"ab")
    content = await open_local_file(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        await content.digest()
    with pytest.raises(FileNotFoundError):
        await open_local_file(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows"
    path.write_bytes(b"rows")
    return path


async def sent(content: LocalFile, part: Part) -> bytes:
    """Return the body of a request with one part of a file."""
    async with content.body(part) as chunks:
        return b"".join([chunk async for chunk in chunks])


def test_stamp(path: Path, tmp_path: Path) -> None:
    """A file is another one if its inode, its size or its time of change is another."""
    stamp = file_stamp(path)
    assert stamp == (path.stat().st_ino, 4, path.stat().st_mtime_ns)
    os.utime(path, ns=(0, stamp.modified_ns + 1))
    assert file_stamp(path) == stamp._replace(modified_ns=stamp.modified_ns + 1)
    with pytest.raises(FileNotFoundError):
        file_stamp(tmp_path / "nowhere")


async def test_each_hash_is_made_once(tmp_path: Path, small_parts: int) -> None:
    """Each part is read once for SHA-256, and once more only if MD5 is needed."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(2 * small_parts))
    disk = FaultyDisk()
    content = await open_local_file(path, disk=disk)
    assert (content.is_multipart, content.size, len(content.parts)) == (True, 2 * small_parts, 2)
    for _ in range(2):
        await content.sha256(content.parts[1])
    assert disk.read_bytes == small_parts
    for _ in range(2):
        await content.digest()
    assert disk.read_bytes == 2 * small_parts
    for _ in range(2):
        await content.digest_with_md5()
    assert disk.read_bytes == 4 * small_parts


async def test_one_part(path: Path) -> None:
    """A small file is one part, whose hash is that of the file."""
    content = await open_local_file(path)
    assert (content.is_multipart, content.size, content.parts) == (False, 4, [Part(1, 0, 4)])
    assert await content.sha256(content.parts[0]) == hashlib.sha256(b"rows").digest()


@pytest.mark.parametrize("part", [Part(1, 0, 10), Part(2, 3, 4), Part(3, 10, 0)])
def test_range(part: Part, tmp_path: Path) -> None:
    """A part is hashed from its place on, for its length."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    body = b"0123456789"[part.offset : part.offset + part.size]
    assert hash_part(path, part, hashlib.sha256()) == hashlib.sha256(body).digest()


class ThriftyDisk(FaultyDisk):
    """A disk that returns half of what is read, as a read may that is interrupted."""

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        assert size <= CHUNK_BYTES
        return super().read(descriptor, -(-size // 2), offset)


async def test_short_reads(tmp_path: Path) -> None:
    """A read may return less than it was asked for."""
    path, body = tmp_path / "file", os.urandom(2 * CHUNK_BYTES + 5)
    path.write_bytes(body)
    content = await open_local_file(path, disk=ThriftyDisk())
    assert await sent(content, content.parts[0]) == body
    assert await content.digest() == identify(body)._replace(etag=None)


async def test_body(tmp_path: Path, small_parts: int) -> None:
    """The body of a request is one part, in chunks; what was sent is counted."""
    path, body = tmp_path / "file", os.urandom(2 * small_parts + 17)
    path.write_bytes(body)
    before = metrics.REGISTRY.get_sample_value("collector_s3_sent_bytes_total") or 0.0
    content = await open_local_file(path)
    async with content.body(content.parts[1]) as chunks:
        sizes = [len(chunk) async for chunk in chunks]
    assert sizes == [CHUNK_BYTES] * (small_parts // CHUNK_BYTES)
    assert await sent(content, content.parts[2]) == body[2 * small_parts :]
    after = metrics.REGISTRY.get_sample_value("collector_s3_sent_bytes_total") or 0.0
    assert after - before == small_parts + 17


async def test_body_that_shrank(path: Path) -> None:
    """A file that is shorter than it was ends its body with an error."""
    content = await open_local_file(path)
    content.path.write_bytes(b"r")
    with pytest.raises(DiskError, match="3 bytes shorter than when it was hashed"):
        await sent(content, content.parts[0])
    with pytest.raises(DiskError, match="3 bytes shorter than a moment ago"):
        await content.digest()
    with pytest.raises(DiskError):
        await content.sha256(content.parts[0])


@pytest.mark.parametrize("call", ["none", "open_file", "read"])
async def test_files_are_closed(call: str, path: Path) -> None:
    """Whatever fails, what was opened is closed."""
    disk = FaultyDisk(call, 0)
    content = await open_local_file(path, disk=disk)
    for use in (content.digest(), sent(content, content.parts[0])):
        if call == "none":
            await use
        else:
            with pytest.raises(OSError, match="Input/output error"):
                await use
    calls = [name for name, _ in disk.calls]
    assert calls.count("close") == (0 if call == "open_file" else 2)


async def test_workers(path: Path) -> None:
    """Calls to the disk and hashing have workers of their own."""
    done: list[str] = []

    def worker(name: str) -> Callable[[Callable[[], T]], object]:
        async def work(task: Callable[[], T], /) -> T:
            done.append(name)
            return task()

        return work

    workers = Workers(worker("disk"), worker("hashing"))  # type: ignore[arg-type]  # of any task
    content = await open_local_file(path, workers, LOCAL_DISK)
    await content.digest_with_md5()
    assert await sent(content, content.parts[0]) == b"rows"
    assert done == ["disk", "hashing", "hashing", "disk", "disk"]
