"""What was sent, to the message: what became of every data frame, on which connection.

A frame is sent once its last byte was handed to the socket of a living connection. For each stream
the record has, in the order of the wire,

    counts, frames   what a client could read: sent, repeated and late frames
    fates            how many frames had a fate other than being sent
    entries          every frame of every fate, with its connection and ids
    spoiled          for each exchange, messages sent that no adapter can read
    foreign          for each exchange, messages sent of a type that was not subscribed

so that a test can tell, connection by connection, what a collector must have stored, what it must
have kept as unparsed, and which ids it must have missed. Counts are always kept, payloads if asked
for. With a path, what a client could read is also appended to a file as

    exchange TAB symbol TAB data_type TAB payload NEWLINE

so that a test can compare while the simulator runs in another process. JSON as exchanges print it has
neither tabs nor newlines; a payload that has one raises ValueError. With a path for entries, these go
to a file that `read_entries` reads. Files are written inline: they go to the page cache, at the
rate of the sockets, and no thread may come between send and record.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from trio_collector.simulator.markets.recorded import recorded_stream
from trio_collector.simulator.net.frames import Fate, Frame, StreamKey

UNPARSED = "unparsed"
_READABLE = frozenset({Fate.SENT, Fate.REPEATED, Fate.LATE})
# By a name of its own: looking a member up in its enum takes 84 ns in CPython 3.11.
_SENT = Fate.SENT


class ConnectionInfo(NamedTuple):
    """A WebSocket connection: its number in the record, and its number at its exchange."""

    id: int
    exchange: str
    path: str
    number: int
    opened_s: float  # since the simulator's start


class Entry(NamedTuple):
    """One frame of one stream on one connection.

    `number` counts frames over the whole record; entries of several streams that share a frame
    share it. `payload` is what was sent, or would have been; `ids` are those that the frame covers, also
    where something unreadable replaced it.
    """

    number: int
    connection: int
    stream: StreamKey
    fate: Fate
    payload: bytes
    ids: tuple[int, int] | None


class SentRecord:
    """Counts, payloads and fates of data frames; other frames are counted per exchange."""

    def __init__(
        self,
        *,
        is_recording: bool = False,
        path: Path | None = None,
        entries_path: Path | None = None,
    ) -> None:
        self.counts: Counter[StreamKey] = Counter()
        self.control_counts: Counter[str] = Counter()
        self.fates: Counter[tuple[StreamKey, Fate]] = Counter()
        self.frames: dict[StreamKey, list[bytes]] = {}
        self.spoiled: dict[str, list[bytes]] = {}
        self.foreign: dict[str, list[bytes]] = {}
        self.entries: list[Entry] = []
        self._number = 0
        self.connections: list[ConnectionInfo] = []
        self._is_recording = is_recording
        self._is_keeping = is_recording or bool(path) or bool(entries_path)
        self._files = contextlib.ExitStack()
        self._file: BinaryIO | None = path.open("ab") if path else None
        self._entries: BinaryIO | None = None
        if self._file:
            self._files.enter_context(self._file)
        if entries_path:
            with contextlib.ExitStack() as undo:
                undo.push(self._files)
                self._entries = self._files.enter_context(entries_path.open("ab"))
                undo.pop_all()

    def __enter__(self) -> "SentRecord":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file = self._entries = None
        self._files.close()

    def open_connection(
        self, exchange: str, path: str, number: int, now_s: float
    ) -> ConnectionInfo:
        """Record a new connection; connections are numbered from 1."""
        info = ConnectionInfo(len(self.connections) + 1, exchange, path, number, now_s)
        self.connections.append(info)
        return info

    def add(self, exchange: str, frame: Frame, connection: int = 0) -> None:
        """Record what became of `frame`; a frame of several streams counts for each."""
        if frame.fate is not _SENT:
            self._add_fate(exchange, frame, connection)
            return
        if not frame.streams:
            self.control_counts[exchange] += 1
        self._number += 1
        for stream in frame.streams:
            self.counts[stream] += 1
            if self._is_keeping:
                self._keep(stream, frame, connection)

    def flush(self) -> None:
        """Hand what is buffered to the files."""
        for file in (self._file, self._entries):
            if file:
                file.flush()

    def sent_lines(self, exchange: str) -> list[bytes]:
        """Return the recorded lines of `exchange` that were sent (captures mode)."""
        return self.frames.get(recorded_stream(exchange), [])

    def _keep(self, stream: StreamKey, frame: Frame, connection: int) -> None:
        """Keep the payload of a frame that a client could read."""
        if self._is_recording:
            self.frames.setdefault(stream, []).append(frame.payload)
        if self._file:
            self._append(self._file, stream, frame.payload)
        self._enter(stream, frame, connection)

    def _add_fate(self, exchange: str, frame: Frame, connection: int) -> None:
        """Record a frame with another fate than sent; one beside the data belongs to no stream."""
        self._number += 1
        streams = frame.streams or (StreamKey(exchange, "", UNPARSED),)
        if frame.fate in (Fate.SPOILED, Fate.FOREIGN) and self._is_recording:
            kept = self.spoiled if frame.fate is Fate.SPOILED else self.foreign
            kept.setdefault(exchange, []).append(frame.payload)
        for stream in streams:
            self.fates[stream, frame.fate] += 1
            if frame.fate in _READABLE:
                self.counts[stream] += 1
                self._keep(stream, frame, connection)
            else:
                self._enter(stream, frame, connection)

    def _enter(self, stream: StreamKey, frame: Frame, connection: int) -> None:
        entry = Entry(self._number, connection, stream, frame.fate, frame.payload, frame.ids)
        if self._is_recording:
            self.entries.append(entry)
        if self._entries:
            self._entries.write(_render(entry))

    def _append(self, file: BinaryIO, stream: StreamKey, payload: bytes) -> None:
        if b"\t" in payload or b"\n" in payload:
            raise ValueError(f"{stream.exchange}: a payload holds a tab or a newline")
        file.write("\t".join(stream).encode() + b"\t" + payload + b"\n")


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the entries in the file `path`, all but one that is still being written."""
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield _parse(line[:-1])


def _render(entry: Entry) -> bytes:
    ids = "" if entry.ids is None else f"{entry.ids[0]} {entry.ids[1]}"
    numbers = (str(entry.number), str(entry.connection))
    names = "\t".join((*numbers, *entry.stream, entry.fate, ids))
    return names.encode() + b"\t" + _escaped(entry.payload) + b"\n"


def _parse(line: bytes) -> Entry:
    number, connection, *names, fate, ids, payload = line.split(b"\t")
    exchange, symbol, data_type = (name.decode() for name in names)
    first, _, last = ids.partition(b" ")
    return Entry(
        int(number),
        int(connection),
        StreamKey(exchange, symbol, data_type),
        Fate(fate.decode()),
        _unescaped(payload),
        (int(first), int(last)) if ids else None,
    )


def _escaped(payload: bytes) -> bytes:
    return payload.replace(b"%", b"%25").replace(b"\t", b"%09").replace(b"\n", b"%0A")


def _unescaped(payload: bytes) -> bytes:
    return payload.replace(b"%0A", b"\n").replace(b"%09", b"\t").replace(b"%25", b"%")
