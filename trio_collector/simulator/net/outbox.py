"""The way out to one client: a bounded queue, written by one task, recorded as it leaves.

Everything that a client gets after its handshake goes through an outbox, so that faults have one
place to cut, delay, drop, double or reorder. An exchange never waits for a client: one that does not
read is cut off once `max_queue_bytes` are waiting.

What counts as sent is exact. A frame is sent once the kernel has taken its last byte; whole and half
frames that a failed write leaves behind are recorded as unsent. Over TLS a piece is at most one
record, which a client can decrypt only when it has all of it, so the same holds. Before an RST the
kernel gets time to deliver what it has taken, which the RST would discard.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from typing import cast

import structlog
import trio

from trio_collector.simulator.faults.action import Action, ActionKind, Item
from trio_collector.simulator.net.connection_end import Stream, prepare_reset, transport_of
from trio_collector.simulator.net.frames import Fate, Frame, Opcode, head, unsent
from trio_collector.simulator.record import SentRecord

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TLS_RECORD_BYTES = 16_384  # RFC 8446, 5.1


class Outbox:
    """Frames on their way to one client of `exchange`."""

    def __init__(
        self,
        stream: Stream,
        exchange: str,
        record: SentRecord,
        max_queue_bytes: int,
        connection: int = 0,
    ) -> None:
        self.scope = trio.CancelScope()  # cancelled when the connection cannot go on
        self._stream = stream
        self._exchange = exchange
        self._record = record
        self._connection = connection
        self._room_bytes = max_queue_bytes
        self._queue: list[Item] = []
        self._filled = trio.Event()
        self._emptied = trio.Event()
        self._emptied.set()
        self._is_over = False
        self._is_scripted = False  # whether there ever was an action among the frames
        self._is_discarding = False
        self._drip_s = 0.0

    def put_scripted(self, items: Sequence[Item]) -> None:
        """Queue frames with actions among them."""
        self._is_scripted = True
        self.put(items)

    def put(self, frames: Sequence[Item]) -> None:
        """Queue `frames`; cut the client off if too much is waiting."""
        if not frames:
            return
        if self._is_over:
            self.give_up(frames)
            return
        self._room_bytes -= sum([len(frame.payload) for frame in frames])
        if self._room_bytes < 0:
            log.warning("simulated client cut off, it does not read", exchange=self._exchange)
            self.scope.cancel()
            self.give_up(frames)
            return
        self._queue += frames
        self._filled.set()
        if self._emptied.is_set():
            self._emptied = trio.Event()

    def give_up(self, items: Iterable[Item]) -> None:
        """Record `items` as unsent."""
        for item in items:
            if isinstance(item, Frame) and item.streams:
                self._record.add(
                    self._exchange,
                    item if item.fate is Fate.LOST else unsent(item),
                    self._connection,
                )

    async def wait_empty(self) -> None:
        """Wait until all that was put is sent, or can no longer be sent."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Send what is put, until a close frame is out or the client is gone.

        Cancelled, it records what is left as unsent.
        """
        try:
            while True:
                await self._filled.wait()
                self._filled = trio.Event()
                frames, self._queue = self._queue, []
                if await self._perform(frames):
                    return
                self._room_bytes += sum([len(frame.payload) for frame in frames])
                if not self._queue:
                    self._emptied.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.scope.cancel()
        finally:
            self._is_over = True
            self._emptied.set()
            self.give_up(self._queue)

    async def _perform(self, items: list[Item]) -> bool:
        """Send frames and do actions in order; return whether a close frame was the last."""
        if not self._is_scripted:
            frames = cast("list[Frame]", items)  # no action was ever put among them
            await self._send(frames)
            return frames[-1].opcode is Opcode.CLOSE
        left = deque(items)
        try:
            while left:
                if await self._perform_next(left):
                    return True
        finally:
            self.give_up(left)
        return False

    async def _perform_next(self, left: deque[Item]) -> bool:
        """Do an action, or send the frames up to the next one; return whether a close frame is out."""
        first = left[0]
        if isinstance(first, Action):
            left.popleft()
            await self._perform_action(first)
            return False
        frames = _pop_frames(left)
        if self._is_discarding:
            self.give_up(frames)
            return False
        await self._send(frames)
        return frames[-1].opcode is Opcode.CLOSE

    async def _perform_action(self, action: Action) -> None:
        match action.kind:
            case ActionKind.SEND:
                if not self._is_discarding:
                    await self._send_raw(action.payload)
            case ActionKind.WAIT:
                await trio.sleep(action.seconds)
            case ActionKind.DRIP:
                self._drip_s = action.seconds
            case ActionKind.DISCARD:
                self._is_discarding = True
            case ActionKind.RESET:
                await prepare_reset(transport_of(self._stream))
                self.scope.cancel()
                await trio.lowlevel.checkpoint()
            case ActionKind.FIN:
                await transport_of(self._stream).send_eof()
                await trio.sleep_forever()  # until the client closes as well

    async def _send(self, frames: list[Frame]) -> None:
        """Send `frames`, and record those that left, also when the client goes or we are cancelled."""
        parts = [(head(frame.opcode, len(frame.payload)), frame.payload) for frame in frames]
        if self._is_scripted:
            parts = [
                part if frame.wire is None else (b"", frame.wire)
                for part, frame in zip(parts, frames, strict=True)
            ]
        ends = list(itertools.accumulate(len(first) + len(payload) for first, payload in parts))
        data = memoryview(b"".join(itertools.chain.from_iterable(parts)))
        sent_bytes = recorded = 0
        try:
            while True:
                while recorded < len(frames) and ends[recorded] <= sent_bytes:
                    self._record.add(self._exchange, frames[recorded], self._connection)
                    recorded += 1
                if sent_bytes == len(data):
                    return
                sent_bytes += await self._send_piece(data[sent_bytes:])
        finally:
            self.give_up(frames[recorded:])

    async def _send_raw(self, payload: bytes) -> None:
        data = memoryview(payload)
        while data:
            data = data[await self._send_piece(data) :]

    async def _send_piece(self, data: memoryview) -> int:
        """Send a part of `data`; return how many bytes, all of them in the kernel's hands."""
        if self._drip_s:
            await trio.sleep(self._drip_s)
            data = data[:1]
        if isinstance(self._stream, trio.SSLStream):
            piece = data[:TLS_RECORD_BYTES]
            await self._stream.send_all(piece)
            return len(piece)
        try:
            return await self._stream.socket.send(data)
        except OSError as exc:
            raise trio.BrokenResourceError(f"client is gone: {exc}") from exc


def _pop_frames(left: deque[Item]) -> list[Frame]:
    """Take the frames before the next action, or up to a close frame, off `left`."""
    frames: list[Frame] = []
    while left and isinstance(item := left[0], Frame):
        left.popleft()
        frames.append(item)
        if item.opcode is Opcode.CLOSE:
            break
    return frames
