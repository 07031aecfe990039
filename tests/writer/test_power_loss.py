"""The power fails at every single call: what was synced is found again, once, and what is left is in order."""

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
import trio

from tests.support.disk_crash import POWER_LOSSES, CrashDisk, Tree, restore
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import StorageSection
from trio_collector.events import Batch, DataType, Stream
from trio_collector.format.journal_reader import open_journal
from trio_collector.threads import Worker
from trio_collector.writer import journals
from trio_collector.writer.recovery import recover
from trio_collector.writer.seal import remove, seal
from trio_collector.writer.segment import Spool
from trio_collector.writer.task import run_writer

RunOnce = Callable[..., Awaitable[int]]
MakeBatch = Callable[..., Batch]
SealedFrames = Callable[[Path], list[bytes]]
WriteJournal = Callable[..., list[int]]

FLUSH_S, SYNC_S = 0.25, 1.0
STREAMS = 2
JOURNAL = PurePosixPath("binance/btcusdt/trade/2023-11-15/1700049600000.arrows")
SEALED = JOURNAL.with_suffix(".parquet")


class Left(msgspec.Struct, frozen=True):
    """What a power loss leaves, and what must or may be found in it."""

    tree: frozenset[tuple[PurePath, bytes | None]]
    promised: frozenset[bytes]
    delivered: frozenset[PurePath]


class Scene:
    """A writer under way, with a feed and an uploader, and what power losses would leave of it."""

    def __init__(self, root: Path, first_us: int) -> None:
        self.disk = CrashDisk(root, self.note)
        self.root = root
        self.first_us = first_us
        self.sent: dict[bytes, float] = {}  # frames, and when
        self.delivered: dict[PurePath, list[bytes]] = {}
        self.left: dict[Left, str] = {}

    def now_us(self) -> int:
        return self.first_us + round(trio.current_time() * 1e6)

    def note(self, call: str) -> None:
        """Remember what a power loss leaves before `call`."""
        synced_until = trio.current_time() - FLUSH_S - SYNC_S
        promised = {frame for frame, at in self.sent.items() if at < synced_until}
        promised |= {frame for frames in self.delivered.values() for frame in frames}
        for loss in POWER_LOSSES:
            tree = frozenset(self.disk.left_by(loss).items())
            left = Left(tree, frozenset(promised), frozenset(self.delivered))
            self.left.setdefault(left, f"{loss.name}, before {call}")

    def deliver(self) -> None:
        """Take away what is ready, as the uploader does once the store has it."""
        for path in sorted(self.root.rglob("*.parquet")):
            if not path.with_suffix(".arrows").exists():
                frames = pq.read_table(path, columns=["data"])["data"].to_pylist()
                self.delivered[path.relative_to(self.root)] = [text.encode() for text in frames]
                self.disk.unlink(path)


@pytest.mark.parametrize("group_sync_from", [1000, 1])  # synced one by one, and together
async def test_a_power_loss_before_any_call(
    tmp_path: Path,
    make_batch: MakeBatch,
    inline_worker: Callable[[], Worker],
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    autojump_clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    group_sync_from: int,
) -> None:
    """Rows are found again once the sync interval has passed, or their sealed file was ready.

    No row is found twice, and no journal comes back whose sealed file was handed on.
    """
    # With one salt the same calls leave the same bytes, which need to be looked at once only.
    monkeypatch.setattr(secrets, "token_hex", lambda _size: "0123456789abcdef")
    monkeypatch.setattr(journals, "GROUP_SYNC_FROM", group_sync_from)
    root = tmp_path / "spool"
    root.mkdir()
    scene = Scene(root, make_batch().received_us)
    storage = StorageSection(
        mode="s3",
        data_dir=str(root),
        min_free_bytes=0,
        flush_interval_secs=FLUSH_S,
        sync_interval_secs=SYNC_S,
        max_file_age_secs=4,
    )
    to_writer, batches = trio.open_memory_channel[Batch](100)
    wake_uploader, wakeups = trio.open_memory_channel[None](1)
    budget = ByteBudget(1 << 30)

    async def feed() -> None:
        with to_writer:
            for second in range(4):
                for n in range(STREAMS):
                    batch = make_batch(
                        2,
                        stream=Stream("binance", f"s{n}", DataType.TRADE),
                        received_us=scene.now_us(),
                        start=100 * n + 10 * second,
                    )
                    scene.sent |= dict.fromkeys(batch.frames, trio.current_time())
                    await budget.acquire(batch.size_bytes)
                    await to_writer.send(batch)
                await trio.sleep(2.2)

    async def deliver() -> None:
        async for _wakeup in wakeups:
            scene.deliver()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        nursery.start_soon(deliver)
        await run_writer(
            storage,
            batches,
            wake_uploader,
            budget,
            server=None,
            now_us=scene.now_us,
            disk=scene.disk,
            new_worker=inline_worker,
        )
    scene.note("the end")
    assert len(scene.delivered) >= 2 * STREAMS
    for number, (left, when) in enumerate(scene.left.items()):
        await check_left(tmp_path / str(number), left, scene, run_once, sealed_frames, when)


async def check_left(
    root: Path,
    left: Left,
    scene: Scene,
    run_once: RunOnce,
    sealed_frames: SealedFrames,
    when: str,
) -> None:
    """Start a writer on what a power loss left, and check what it makes of it."""
    tree: Tree = dict(left.tree)
    for path in left.delivered:
        assert path.with_suffix(".arrows") not in tree, when
    restore(tree, root)
    await run_once(root, [])
    for path in left.delivered:
        (root / path).unlink(missing_ok=True)  # it is known by its name in the store
    delivered = [frame for path in left.delivered for frame in scene.delivered[path]]
    found = Counter([*delivered, *sealed_frames(root)])
    assert found.keys() >= left.promised, when
    assert found.keys() <= scene.sent.keys(), when
    assert max(found.values(), default=1) == 1, when
    assert leftovers(root) == [], when


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.suffix in (".arrows", ".tmp")]


def left_behind(disk: CrashDisk) -> Iterator[tuple[str, Tree]]:
    for loss in POWER_LOSSES:
        yield loss.name, disk.left_by(loss)


def files(tree: Tree) -> set[str]:
    return {str(path) for path, content in tree.items() if content is not None}


@pytest.fixture
def journal(tmp_path: Path, make_batch: MakeBatch, write_journal: WriteJournal) -> Path:
    """A journal of nine rows at its place below `tmp_path`."""
    write_journal(tmp_path / JOURNAL, [make_batch(4), make_batch(5, start=4)])
    return tmp_path / JOURNAL


def test_what_was_sealed_stays_sealed(tmp_path: Path, journal: Path) -> None:
    """After a seal there is the sealed file, whole, and no journal; before, one of them is whole."""
    content = journal.read_bytes()
    seen: list[tuple[str, Tree]] = []
    disk = CrashDisk(tmp_path, lambda _call: seen.extend(left_behind(disk)))
    sealed = seal(journal, disk).path.read_bytes()
    for name, tree in seen:
        assert tree.get(JOURNAL) == content or tree.get(SEALED) == sealed, name
    for name, tree in left_behind(disk):
        assert files(tree) == {str(SEALED)}, name
        assert tree[SEALED] == sealed, name


def test_what_was_removed_stays_removed(tmp_path: Path, journal: Path) -> None:
    """A file that was removed does not come back."""
    disk = CrashDisk(tmp_path)
    remove(journal, disk)
    for name, tree in left_behind(disk):
        assert files(tree) == set(), name


def unreadable(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes().replace(b"btcusdt", b"btcusdc"))


def beside_a_damaged_file(journal: Path) -> None:
    journal.with_suffix(".parquet").write_bytes(b"PAR1 damaged")


@pytest.mark.parametrize("prepare", [unreadable, beside_a_damaged_file])
def test_what_is_in_quarantine_stays_there(
    tmp_path: Path, journal: Path, prepare: Callable[[Path], None]
) -> None:
    """Whenever the power fails, a file that goes into quarantine is in one of its two places, whole."""
    prepare(journal)
    (doubtful,) = tmp_path.rglob("*.parquet" if prepare is beside_a_damaged_file else "*.arrows")
    content, path = doubtful.read_bytes(), doubtful.relative_to(tmp_path)
    kept = {path, "quarantine" / path}
    seen: list[tuple[str, Tree]] = []
    disk = CrashDisk(tmp_path, lambda _call: seen.extend(left_behind(disk)))
    recover(JOURNAL, Spool(tmp_path), disk)
    for name, tree in seen:
        assert content in {tree.get(each) for each in kept}, name
    for name, tree in left_behind(disk):
        assert tree["quarantine" / path] == content, name
        assert tree.get(path) != content, name


def test_a_new_journal_is_found_again(tmp_path: Path, journal: Path) -> None:
    """A journal that is there and synced can be read after any power loss: the double is right."""
    disk = CrashDisk(tmp_path)
    for number, (name, tree) in enumerate(left_behind(disk)):
        root = tmp_path.with_name(f"{tmp_path.name}-{number}")
        restore(tree, root)
        with open_journal(root / JOURNAL) as reader:
            assert sum(rows.num_rows for rows in reader) == 9, name
