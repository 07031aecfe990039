"""What was sent: every data frame that was handed whole to the socket of a living connection.

Counts are always kept, payloads if asked for. With a path, each frame is also appended to a file as

    exchange TAB symbol TAB data_type TAB payload NEWLINE

so that a test can compare while the simulator runs in another process. JSON as venues print it has
neither tabs nor newlines; a payload that has raises ValueError. The file is written inline: it
goes to the page cache, at the rate of the sockets, and no thread may come between send and record.
"""

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from trio_collector.simulator.frames import Frame, StreamKey
from trio_collector.simulator.recorded import recorded_stream


class SentRecord:
    """Counts and payloads of data frames per stream; other frames are counted per exchange."""

    def __init__(self, *, is_recording: bool = False, path: Path | None = None) -> None:
        self.counts: Counter[StreamKey] = Counter()
        self.control_counts: Counter[str] = Counter()
        self.frames: dict[StreamKey, list[bytes]] = {}
        self._is_recording = is_recording
        self._file: BinaryIO | None = path.open("ab") if path else None

    def __enter__(self) -> "SentRecord":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def add(self, exchange: str, frame: Frame) -> None:
        """Say that `frame` was sent; one of several streams counts for each."""
        if not frame.streams:
            self.control_counts[exchange] += 1
        for stream in frame.streams:
            self.counts[stream] += 1
            if self._is_recording:
                self.frames.setdefault(stream, []).append(frame.payload)
            if self._file:
                self._append(self._file, stream, frame.payload)

    def flush(self) -> None:
        """Hand what is buffered to the file."""
        if self._file:
            self._file.flush()

    def sent_lines(self, exchange: str) -> list[bytes]:
        """Return the recorded lines of `exchange` that were sent (captures mode)."""
        return self.frames.get(recorded_stream(exchange), [])

    def _append(self, file: BinaryIO, stream: StreamKey, payload: bytes) -> None:
        if b"\t" in payload or b"\n" in payload:
            raise ValueError(f"{stream.exchange}: a payload holds a tab or a newline")
        file.write("\t".join(stream).encode() + b"\t" + payload + b"\n")
