"""A file is hashed part by part, and what happens to it meanwhile is told."""

import hashlib
from pathlib import Path

import pytest

from trio_collector.errors import DiskError
from trio_collector.store.digest import Digest, Hasher, Part
from trio_collector.store.local_file import hash_part, open_local_file


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
