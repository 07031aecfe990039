"""What is in a file: hashed in worker threads, part by part, when it is asked for, and once.

A large file's parts are hashed one after the other while those before are on their way, so that
neither the disk nor the line waits for the other.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from trio_collector.errors import DiskError
from trio_collector.store.body import CHUNK_BYTES, FileBody
from trio_collector.store.digest import Digest, Part, digest_of, new_md5, plan_parts
from trio_collector.store.file_stamp import FileStamp, file_stamp
from trio_collector.threads import Workers, thread_workers


class LocalFile:
    """One version of a file, and the hashes of it that were asked for.

    The methods raise OSError, and DiskError if the file is shorter than this version of it.
    """

    def __init__(self, path: Path, version: FileStamp, workers: Workers) -> None:
        self.path = path
        self.version = version
        self.parts = plan_parts(version.size)
        self._workers = workers
        self._sha256s: dict[Part, bytes] = {}
        self._md5s: dict[Part, bytes] = {}

    @property
    def size(self) -> int:
        return self.version.size

    @property
    def is_multipart(self) -> bool:
        return len(self.parts) > 1

    def read(self, part: Part) -> FileBody:
        """Return one part as the body of a request, to be entered as a context."""
        return FileBody(self.path, part, self._workers.disk)

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
            work = partial(hash_part, self.path, part, new_hash())
            known[part] = await self._workers.hashing(work)
        return known[part]


async def open_local_file(path: Path, workers: Workers | None = None) -> LocalFile:
    """Return what is in the file `path` now, to be read by `workers`; raises OSError."""
    workers = workers or thread_workers()
    return LocalFile(path, await workers.disk(partial(file_stamp, path)), workers)


def hash_part(path: Path, part: Part, into: "hashlib._Hash") -> bytes:
    """Return the hash of a range of a file; raises OSError, and DiskError if it is short."""
    left = part.size
    buffer = memoryview(bytearray(min(CHUNK_BYTES, left)))
    with path.open("rb", buffering=0) as file:
        file.seek(part.offset)
        while left:
            count = file.readinto(buffer[: min(len(buffer), left)])
            if not count:
                raise DiskError(path, f"{left} bytes shorter than a moment ago")
            into.update(buffer[:count])
            left -= count
    return into.digest()
