"""A file to be sent: its parts as bodies of requests, and their hashes.

A hash is computed in a worker thread when it is first needed, and kept. The parts of a large file
are hashed one after another while earlier ones are being sent, so that hashing and sending overlap.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from trio_collector.disk import LOCAL_DISK, Disk
from trio_collector.errors import DiskError
from trio_collector.store.body import CHUNK_BYTES, FileBody
from trio_collector.store.digest import Digest, Part, digest_of, new_md5, plan_parts
from trio_collector.threads import Workers, thread_workers


class FileStamp(NamedTuple):
    """What changes with a file's content, as far as the filesystem tells without reading it."""

    inode: int
    size: int
    modified_ns: int


def file_stamp(path: Path, disk: Disk = LOCAL_DISK) -> FileStamp:
    """Return the stamp of the file that `path` is now. Raises OSError."""
    facts = disk.stat(path)
    return FileStamp(facts.st_ino, facts.st_size, facts.st_mtime_ns)


class LocalFile:
    """A file as it was when it was opened, and the hashes of it that were needed so far.

    The methods raise OSError, and DiskError if the file is shorter than it was.
    """

    def __init__(
        self, path: Path, stamp: FileStamp, workers: Workers, disk: Disk = LOCAL_DISK
    ) -> None:
        self.path = path
        self.stamp = stamp
        self.parts = plan_parts(stamp.size)
        self._workers = workers
        self._disk = disk
        self._sha256s: dict[Part, bytes] = {}
        self._md5s: dict[Part, bytes] = {}

    @property
    def size(self) -> int:
        return self.stamp.size

    @property
    def is_multipart(self) -> bool:
        return len(self.parts) > 1

    def body(self, part: Part) -> FileBody:
        """Return one part as the body of a request, to be entered as a context."""
        return FileBody(self.path, part, self._workers.disk, self._disk)

    async def sha256(self, part: Part) -> bytes:
        """Return the hash of one part."""
        return await self._hash(part, hashlib.sha256, self._sha256s)

    async def digest(self) -> Digest:
        """Return the identity of the content."""
        return digest_of(self.size, await self._hash_all(hashlib.sha256, self._sha256s))

    async def digest_with_md5(self) -> Digest:
        """Return the identity of the content, ETag included."""
        sha256s = await self._hash_all(hashlib.sha256, self._sha256s)
        return digest_of(self.size, sha256s, await self._hash_all(new_md5, self._md5s))

    async def _hash_all(
        self, new_hash: "Callable[[], hashlib._Hash]", known: dict[Part, bytes]
    ) -> list[bytes]:
        try:
            async with trio.open_nursery() as nursery:
                for part in self.parts:
                    nursery.start_soon(self._hash, part, new_hash, known)
        except* (OSError, DiskError) as group:
            raise group.exceptions[0] from None
        return [known[part] for part in self.parts]

    async def _hash(
        self, part: Part, new_hash: "Callable[[], hashlib._Hash]", known: dict[Part, bytes]
    ) -> bytes:
        if part not in known:
            work = partial(hash_part, self.path, part, new_hash(), self._disk)
            known[part] = await self._workers.hashing(work)
        return known[part]


async def open_local_file(
    path: Path, workers: Workers | None = None, disk: Disk = LOCAL_DISK
) -> LocalFile:
    """Return the file that `path` is now, to be read by `workers`. Raises OSError."""
    workers = workers or thread_workers()
    stamp = await workers.disk(partial(file_stamp, path, disk))
    return LocalFile(path, stamp, workers, disk)


def hash_part(path: Path, part: Part, into: "hashlib._Hash", disk: Disk = LOCAL_DISK) -> bytes:
    """Return the hash of a range of a file. Raises OSError, and DiskError if the file is short."""
    left = part.size
    descriptor = disk.open_file(path)
    try:
        while left:
            offset = part.offset + part.size - left
            chunk = disk.read(descriptor, min(CHUNK_BYTES, left), offset)
            if not chunk:
                raise DiskError(path, f"{left} bytes shorter than a moment ago")
            into.update(chunk)
            left -= len(chunk)
    finally:
        disk.close(descriptor)
    return into.digest()
