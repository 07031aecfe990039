"""A range of a file as the body of a request, read in a worker thread as it is sent.

One large `bytes` would stall the loop for seconds over TLS, and each small chunk costs the wake-up
of a thread: chunks of 64 KiB make 45-120 MB/s, of 1 MiB 550-1000.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from trio_collector.disk import LOCAL_DISK, Disk
from trio_collector.errors import DiskError
from trio_collector.store.digest import Part
from trio_collector.telemetry import metrics
from trio_collector.threads import Worker

CHUNK_BYTES = 1 << 20


class FileBody(httpx.AsyncByteStream):
    """Sends `part` of the file `path`; a context manager that keeps the file open.

    `work` performs the calls to `disk`. Iterating raises OSError, and DiskError if the file is
    shorter than it was.
    """

    def __init__(self, path: Path, part: Part, work: Worker, disk: Disk = LOCAL_DISK) -> None:
        self._path = path
        self._part = part
        self._work = work
        self._disk = disk
        self._descriptor = -1

    async def __aenter__(self) -> Self:
        self._descriptor = await self._work(partial(self._disk.open_file, self._path))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._disk.close(self._descriptor)  # nothing was written on it, so closing never waits

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Chunks(self._path, self._part, self._read)

    async def _read(self, size: int, offset: int) -> bytes:
        return await self._work(partial(self._disk.read, self._descriptor, size, offset))


class _Chunks:
    """The chunks. Not a generator, which a failed request would leave suspended."""

    def __init__(
        self, path: Path, part: Part, read: Callable[[int, int], Awaitable[bytes]]
    ) -> None:
        self._path = path
        self._read = read
        self._offset = part.offset
        self._left = part.size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        chunk = await self._read(min(CHUNK_BYTES, self._left), self._offset)
        if not chunk:
            raise DiskError(self._path, f"{self._left} bytes shorter than when it was hashed")
        self._offset += len(chunk)
        self._left -= len(chunk)
        metrics.s3_sent_bytes.inc(len(chunk))
        return chunk
