"""The way out to one client: a bounded queue, written by one task, recorded as it leaves.

Everything a client is ever sent after its handshake goes through an outbox, so a fault script has
one place to cut, delay, drop, double or reorder. A venue never waits for a client: who does not
read gets `max_queue_bytes` of patience and is then cut off.

What counts as sent is exact. A frame is sent once the kernel has taken its last byte; what
a failed write leaves behind, whole frames and half ones, is not. Over TLS a piece is at most one
record, and a client can decrypt a record only when it has all of it, so the same holds.
"""

import itertools

import structlog
import trio

from trio_collector.simulator.frames import Frame, Opcode, head
from trio_collector.simulator.record import SentRecord

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TLS_RECORD_BYTES = 16_384  # RFC 8446, 5.1

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Outbox:
    """Frames on their way to one client of `exchange`."""

    def __init__(
        self, stream: Stream, exchange: str, record: SentRecord, max_queue_bytes: int
    ) -> None:
        self.scope = trio.CancelScope()  # cancelled when the connection cannot go on
        self._stream = stream
        self._exchange = exchange
        self._record = record
        self._room_bytes = max_queue_bytes
        self._queue: list[Frame] = []
        self._filled = trio.Event()
        self._emptied = trio.Event()
        self._emptied.set()
        self._is_over = False

    def put(self, frames: list[Frame]) -> None:
        """Queue `frames`; cut the client off if it has left too much unread."""
        if not frames or self._is_over:
            return
        self._room_bytes -= sum([len(frame.payload) for frame in frames])
        if self._room_bytes < 0:
            log.warning("simulated client cut off, it does not read", exchange=self._exchange)
            self.scope.cancel()
            return
        self._queue += frames
        self._filled.set()
        if self._emptied.is_set():
            self._emptied = trio.Event()

    async def wait_empty(self) -> None:
        """Wait until all that was put is sent, or never will be."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Send what is put, until a close frame is out, the client is gone, or cancelled."""
        try:
            while True:
                await self._filled.wait()
                self._filled = trio.Event()
                frames, self._queue = self._queue, []
                await self._send(frames)
                self._room_bytes += sum([len(frame.payload) for frame in frames])
                if frames[-1].opcode is Opcode.CLOSE:
                    return
                if not self._queue:
                    self._emptied.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.scope.cancel()
        finally:
            self._is_over = True
            self._emptied.set()

    async def _send(self, frames: list[Frame]) -> None:
        """Send `frames`, and record those that left, also when the client goes or we are cancelled."""
        parts = [(head(frame.opcode, len(frame.payload)), frame.payload) for frame in frames]
        ends = list(itertools.accumulate(len(first) + len(payload) for first, payload in parts))
        data = memoryview(b"".join(itertools.chain.from_iterable(parts)))
        sent_bytes = recorded = 0
        while sent_bytes < len(data):
            sent_bytes += await self._send_piece(data[sent_bytes:])
            while recorded < len(frames) and ends[recorded] <= sent_bytes:
                self._record.add(self._exchange, frames[recorded])
                recorded += 1

    async def _send_piece(self, data: memoryview) -> int:
        """Send a part of `data`; return how many bytes, all of them in the kernel's hands."""
        if isinstance(self._stream, trio.SSLStream):
            piece = data[:TLS_RECORD_BYTES]
            await self._stream.send_all(piece)
            return len(piece)
        try:
            return await self._stream.socket.send(data)
        except OSError as exc:
            raise trio.BrokenResourceError(f"client is gone: {exc}") from exc
