"""A journal gives back exactly its whole batches, whatever happened to the file."""

import errno
import os
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_collector.errors import JournalError
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import (
    JournalState,
    TornHeader,
    inspect_journal,
    open_journal,
)

SIZES = (3, 1, 40, 8, 2)

MakeBatch = Callable[..., Batch]
WriteJournal = Callable[..., list[int]]


@pytest.fixture
def journal(
    tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal
) -> tuple[Path, list[int]]:
    """A journal of several appends, and where the header and each of them end."""
    batches = [make_batch(rows, start=100 * number) for number, rows in enumerate(SIZES)]
    path = tmp_path / "journal.arrows"
    return path, write_journal(path, batches)


def read_frames(path: Path) -> tuple[list[list[str]], int, int]:
    """Return the frames of each whole batch, and the rows and bytes that were lost."""
    with open_journal(path) as reader:
        frames = [batch["data"].to_pylist() for batch in reader]
        return frames, reader.lost_rows, reader.lost_bytes


def test_reads_back_what_was_written(journal: tuple[Path, list[int]]) -> None:
    """An undamaged journal loses no row and no byte."""
    frames, lost_rows, lost_bytes = read_frames(journal[0])
    assert [len(batch) for batch in frames] == list(SIZES)
    assert (lost_rows, lost_bytes) == (0, 0)


def test_any_arrow_reader_can_follow(journal: tuple[Path, list[int]]) -> None:
    """A journal is a plain Arrow stream, also while it has no end marker."""
    with pa.ipc.open_stream(journal[0].read_bytes()) as stream:
        assert stream.read_all().num_rows == sum(SIZES)


def test_cut_at_every_length(journal: tuple[Path, list[int]]) -> None:
    """Of a journal that is cut anywhere, exactly the batches before the cut come back."""
    path, ends = journal
    content = path.read_bytes()
    whole, _, _ = read_frames(path)
    for length in reversed(range(len(content))):
        os.truncate(path, length)
        expected = sum(end <= length for end in ends[1:])
        if length < ends[0]:
            with pytest.raises(TornHeader):
                read_frames(path)
        else:
            complete = max(end for end in ends if end <= length)
            assert read_frames(path) == (whole[:expected], 0, length - complete)
        state = JournalState.ROWS if expected else JournalState.NOTHING
        assert inspect_journal(path) is state, length


def overwrite(path: Path, content: bytes) -> None:
    """Replace what is in a file, which keeps its blocks: faster than to empty it first."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


class Damage:
    """A journal as it was written, to check what is read of it once it is damaged."""

    def __init__(self, path: Path, ends: Sequence[int]) -> None:
        self.path = path
        self.ends = ends
        self.original = path.read_bytes()
        self.whole, _, _ = read_frames(path)

    def flipped(self, position: int, bit: int) -> bytes:
        damaged = bytearray(self.original)
        damaged[position] ^= 1 << bit
        return bytes(damaged)

    def check(self, damaged: bytes) -> int:
        """Check what is read of `damaged`; return how many batches were lost."""
        overwrite(self.path, damaged)
        hit = {
            number
            for number, (start, end) in enumerate(pairwise(self.ends))
            if damaged[start:end] != self.original[start:end]
        }
        is_header_hit = damaged[: self.ends[0]] != self.original[: self.ends[0]]
        try:
            found, _, _ = read_frames(self.path)
        except JournalError:
            assert is_header_hit
            return len(self.whole)
        assert all(batch in self.whole for batch in found)
        assert sorted(map(str, found)) == sorted(map(str, {str(b): b for b in found}.values()))
        if not is_header_hit:
            assert all(
                batch in found for number, batch in enumerate(self.whole) if number not in hit
            )
        return len(self.whole) - len(found)


def test_a_flip_in_every_byte(journal: tuple[Path, list[int]]) -> None:
    """A flipped bit costs at most the batch it is in, and never makes a wrong row."""
    damage = Damage(*journal)
    dice = random.Random(7)
    for position in range(len(damage.original)):
        lost = damage.check(damage.flipped(position, dice.randrange(8)))
        assert position < damage.ends[0] or lost <= 1


def test_random_damage(journal: tuple[Path, list[int]]) -> None:
    """Runs of garbage, of zeros and of ones cost the batches they touch and no other."""
    damage = Damage(*journal)
    size_bytes = len(damage.original)
    dice = random.Random(8)
    for _ in range(600):
        damaged = bytearray(damage.original)
        start = dice.randrange(damage.ends[0], size_bytes)
        length = min(dice.randrange(1, 300), size_bytes - start)
        filling = dice.choice([bytes(length), b"\xff" * length, dice.randbytes(length)])
        damaged[start : start + length] = filling
        damage.check(bytes(damaged))


def test_rows_lost_in_the_middle_are_counted(journal: tuple[Path, list[int]]) -> None:
    """The rows of a damaged batch are told by the running numbers of those behind it."""
    path, ends = journal
    content = bytearray(path.read_bytes())
    content[ends[2] - 20] ^= 1  # the second batch
    content[ends[3] - 20] ^= 1  # and the third
    path.write_bytes(content)
    frames, lost_rows, lost_bytes = read_frames(path)
    assert [len(batch) for batch in frames] == [3, 8, 2]
    assert (lost_rows, lost_bytes) == (41, ends[3] - ends[1])


def test_a_length_that_swallows_the_rest_is_noticed(
    tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal
) -> None:
    """Batches of equal size, where one claims the next as its own, are told apart."""
    path = tmp_path / "equal.arrows"
    ends = write_journal(path, [make_batch(1, start=number) for number in range(4)])
    damage = Damage(path, ends)
    for position in range(ends[1], ends[2]):
        for bit in range(8):
            assert damage.check(damage.flipped(position, bit)) <= 1


@pytest.mark.parametrize("tail", [bytes(8), bytes(4096), b"garbage", b"\xff" * 64, b"ARROW1\0\0"])
def test_tails(journal: tuple[Path, list[int]], tail: bytes) -> None:
    """Zeros or garbage behind the last batch are counted, and no end of the stream."""
    path, _ends = journal
    with path.open("ab") as file:
        file.write(tail)
    frames, lost_rows, lost_bytes = read_frames(path)
    assert len(frames) == len(SIZES)
    assert (lost_rows, lost_bytes) == (0, len(tail))


def test_a_second_journal_behind_the_first_is_not_believed(journal: tuple[Path, list[int]]) -> None:
    """Batches whose running number was seen already are not read twice."""
    path, _ends = journal
    path.write_bytes(path.read_bytes() * 2)
    frames, lost_rows, _ = read_frames(path)
    assert (len(frames), lost_rows) == (len(SIZES), 0)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"", JournalState.NOTHING),
        (bytes(5000), JournalState.NOTHING),
        (b"\xff\xff", JournalState.NOTHING),
        (b"not a journal at all", JournalState.UNREADABLE),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100), JournalState.UNREADABLE),
        # Lengths that would be sound, were they not so long that only a flipped bit can say so:
        # the file must not be taken for one that was cut short, and removed.
        (b"\xff\xff\xff\xff\xf8\xff\xff\x7f" + bytes(100), JournalState.UNREADABLE),
        (b"\xff\xff\xff\xff\x08\x00\x01\x00" + bytes(100), JournalState.UNREADABLE),
        (b"\xff\xff\xff\xff\x00\x00\x01\x00" + bytes(100), JournalState.NOTHING),
    ],
)
def test_states_without_a_header(tmp_path: Path, content: bytes, state: JournalState) -> None:
    """Only what was never more than the beginning of a file is nothing."""
    path = tmp_path / "journal.arrows"
    path.write_bytes(content)
    assert inspect_journal(path) is state


def test_a_first_length_that_is_too_long_is_damage(
    tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal
) -> None:
    """A length that no batch has may hide rows; one that a batch can have is a torn append."""
    path = tmp_path / "journal.arrows"
    ends = write_journal(path, [make_batch(5)])
    content = path.read_bytes()
    for length, state in ((4096, JournalState.NOTHING), (4104, JournalState.UNREADABLE)):
        path.write_bytes(content[: ends[0] + 4] + length.to_bytes(4, "little") + bytes([1]) * 99)
        assert inspect_journal(path) is state


def test_one_damaged_batch_is_unreadable_not_nothing(
    tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal
) -> None:
    """A first batch that is all there but damaged may hold rows, and is told from a torn one."""
    path = tmp_path / "journal.arrows"
    ends = write_journal(path, [make_batch(5)])
    content = bytearray(path.read_bytes())
    content[ends[1] - 20] ^= 1
    path.write_bytes(content)
    assert inspect_journal(path) is JournalState.UNREADABLE


def test_a_damaged_header_gives_no_rows_to_another_stream(
    journal: tuple[Path, list[int]],
) -> None:
    """A journal whose header names another symbol is not believed."""
    path, _ends = journal
    content = path.read_bytes()
    path.write_bytes(content.replace(b"btcusdt", b"btcusdc", 1))
    assert read_frames(path)[0] == []
    assert inspect_journal(path) is JournalState.UNREADABLE


def test_markers_inside_of_frames_cost_nothing(
    tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal
) -> None:
    """A frame full of markers, or a whole message inside of a frame, is no batch."""
    stream = Stream("okx", "btcusdt", DataType.UNPARSED)
    other = tmp_path / "other.arrows"
    ends = write_journal(other, [make_batch(2, stream=stream)])
    inner = other.read_bytes()[ends[0] :]
    frames = [b"\xff" * 4096, inner, b"\xff\xff\xff\xff\x10\0\0\0" * 40]
    path = tmp_path / "journal.arrows"
    ends = write_journal(
        path, [make_batch(stream=stream, frames=frames), make_batch(3, stream=stream)]
    )
    content = bytearray(path.read_bytes())
    content[ends[0] + 100] ^= 0xFF
    path.write_bytes(content)
    with open_journal(path) as reader:
        assert [batch.num_rows for batch in reader] == [3]
        assert reader.lost_rows == 3


def test_an_error_of_the_disk_is_not_damage(
    journal: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk refuses to read today is passed on, and nothing is decided about the rows."""
    path, ends = journal
    pread = os.pread

    def fail(descriptor: int, size_bytes: int, start: int) -> bytes:
        if start >= ends[2]:
            raise OSError(errno.EIO, "injected")
        return pread(descriptor, size_bytes, start)

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="injected"):
        read_frames(path)


rows = st.tuples(
    st.text(max_size=12),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=40),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    appends=st.lists(st.lists(rows, min_size=1, max_size=30), min_size=1, max_size=6),
    data=st.data(),
)
def test_any_rows_any_cut(
    tmp_path: Path,
    write_journal: WriteJournal,
    appends: list[list[tuple[str, int | None, str]]],
    data: st.DataObject,
) -> None:
    """Any rows written come back in order, up to the last whole append before any cut."""
    path = tmp_path / "journal.arrows"
    path.unlink(missing_ok=True)
    batches = []
    for append in appends:
        batch = Batch(Stream("upbit", "krw~btc", DataType.ORDERBOOK), 1_700_000_000_000_000)
        for sequence_id, exchange_us, text in append:
            batch.append(sequence_id, exchange_us, text.encode())
        batches.append(batch)
    ends = write_journal(path, batches)
    cut = data.draw(st.integers(ends[0], ends[-1]))
    path.write_bytes(path.read_bytes()[:cut])
    with open_journal(path) as reader:
        found = [row for batch in reader for row in batch.to_pylist()]
    expected = [
        row for append, end in zip(appends, ends[1:], strict=True) if end <= cut for row in append
    ]
    assert [
        (row["exchange_sequence_id"], row["timestamp_exchange"], row["data"]) for row in found
    ] == expected
