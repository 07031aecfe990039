"""Rows leave at once where there is room, else in their order, and nothing is read meanwhile."""

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_collector.budget import ByteBudget
from trio_collector.events import Batch, DataType, Stream
from trio_collector.feed.sender import READS_WAITING, BatchSender

STREAM = Stream("scripted", "btc", DataType.TRADE)


def batch_of(*ids: int) -> Batch:
    batch = Batch(STREAM, 0)
    for each in ids:
        batch.append(str(each), None, b"x")
    return batch


ROW_BYTES = batch_of(1).size_bytes


class Writer:
    """The other end of a sender's channel."""

    def __init__(self, *, rows: float = math.inf, batches: float = math.inf) -> None:
        self.budget = ByteBudget(1 << 30 if rows == math.inf else int(rows) * ROW_BYTES)
        self.to_writer, self._batches = trio.open_memory_channel[Batch](batches)
        self.sent: list[str] = []
        self.sender = BatchSender(self.to_writer, self.budget, self._note)

    def _note(self, batch: Batch) -> None:
        self.sent += batch.sequence_ids

    def take(self) -> list[str]:
        """Take the batches that are there, and give their bytes back; return the ids of the rows."""
        ids: list[str] = []
        try:
            while True:
                batch = self._batches.receive_nowait()
                self.budget.release(batch.size_bytes)
                ids += batch.sequence_ids
        except (trio.WouldBlock, trio.EndOfChannel):
            return ids


async def test_rows_with_room_leave_at_once() -> None:
    """No task is needed for them, and each is noted; an empty batch is none."""
    writer = Writer()
    writer.sender.put([batch_of(1, 2), batch_of(), batch_of(3)])
    assert writer.sent == writer.take() == ["1", "2", "3"]
    assert writer.budget.used_bytes == 0
    await writer.sender.wait_sent()


@pytest.mark.parametrize("limit", [{"rows": 2}, {"batches": 2}])
async def test_rows_without_room_wait_in_their_order(
    nursery: trio.Nursery, limit: dict[str, float]
) -> None:
    """What has no room waits with all that comes behind it, and is noted when it leaves."""
    writer = Writer(**limit)
    nursery.start_soon(writer.sender.run)
    writer.sender.put([batch_of(1), batch_of(2), batch_of(3)])
    writer.sender.put([batch_of(4)])
    assert writer.sent == ["1", "2"]
    await wait_all_tasks_blocked()
    writer.sender.put([batch_of(5)])
    got: list[str] = []
    while len(got) < 5:
        await wait_all_tasks_blocked()
        assert writer.sent[: len(got)] == got
        got += writer.take()
    assert got == writer.sent == ["1", "2", "3", "4", "5"]
    assert writer.budget.used_bytes == 0
    writer.sender.close()


async def test_what_is_sent_overtakes_nothing(nursery: trio.Nursery) -> None:
    """Though there is room again, new rows wait behind those in the hands of `run`."""
    writer = Writer(rows=2)
    nursery.start_soon(writer.sender.run)
    writer.sender.put([batch_of(1, 2)])
    writer.sender.put([batch_of(3)])
    await wait_all_tasks_blocked()
    assert writer.take() == ["1", "2"]  # the budget grants 3 its bytes; `run` has not woken yet
    writer.sender.put([batch_of(4)])
    assert writer.sent == ["1", "2"]
    await wait_all_tasks_blocked()
    assert writer.take() == ["3", "4"]
    writer.sender.close()


async def test_reading_stops_when_enough_waits(nursery: trio.Nursery) -> None:
    """One read is in the hands of `run` and so many wait; with one more there is no room."""
    writer = Writer(rows=1)
    nursery.start_soon(writer.sender.run)
    await writer.budget.acquire(ROW_BYTES)
    for number in range(1 + READS_WAITING):
        writer.sender.put([batch_of(number)])
        await wait_all_tasks_blocked()
        assert writer.sender.has_room
    writer.sender.put([batch_of(99)])
    assert not writer.sender.has_room
    waited = trio.Event()

    async def wait() -> None:
        await writer.sender.wait_room()
        waited.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    assert not waited.is_set()
    writer.budget.release(ROW_BYTES)
    await wait_all_tasks_blocked()
    assert writer.take() == ["0"]
    await wait_all_tasks_blocked()
    assert waited.is_set()
    nursery.cancel_scope.cancel()


async def test_the_end_waits_for_what_waits(nursery: trio.Nursery) -> None:
    """`wait_sent` and a closed `run` return when nothing is left, also not in its hands."""
    writer = Writer(rows=1)
    writer.sender.put([batch_of(1)])
    writer.sender.put([batch_of(2)])
    steps = []

    async def run() -> None:
        await writer.sender.run()
        steps.append("run")

    async def wait_sent() -> None:
        await writer.sender.wait_sent()
        steps.append("sent")

    nursery.start_soon(run)
    nursery.start_soon(wait_sent)
    await wait_all_tasks_blocked()
    writer.sender.close()
    await wait_all_tasks_blocked()
    assert steps == []
    assert writer.take() == ["1"]
    await wait_all_tasks_blocked()
    assert sorted(steps) == ["run", "sent"]
    assert writer.take() == ["2"]


@pytest.mark.parametrize("limit", [{"rows": 1}, {"batches": 1}])
async def test_cancelled_it_keeps_no_bytes(nursery: trio.Nursery, limit: dict[str, float]) -> None:
    """What waits is lost with the task, and the budget has its bytes."""
    writer = Writer(**limit)
    writer.sender.put([batch_of(1), batch_of(2), batch_of(3)])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(writer.sender.run)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert writer.take() == ["1"]
    assert writer.budget.used_bytes == 0


async def test_a_writer_that_is_gone_is_an_error() -> None:
    """Rows that nobody takes are not dropped in silence, and give their bytes back."""
    writer = Writer()
    writer._batches.close()
    with pytest.raises(trio.BrokenResourceError):
        writer.sender.put([batch_of(1)])
    assert writer.budget.used_bytes == 0
    assert writer.sent == []


async def test_an_idle_task_sends_what_comes_to_wait(nursery: trio.Nursery) -> None:
    """With nothing to do it waits on, is woken by rows without room, and by the end."""
    writer, ended = Writer(rows=1), trio.Event()

    async def run() -> None:
        await writer.sender.run()
        ended.set()

    nursery.start_soon(run)
    await wait_all_tasks_blocked()
    assert not ended.is_set()
    writer.sender.put([batch_of(1), batch_of(2)])
    await wait_all_tasks_blocked()
    assert writer.take() == ["1"]
    await wait_all_tasks_blocked()
    assert writer.sent == ["1", "2"]
    assert not ended.is_set()
    writer.sender.close()
    await wait_all_tasks_blocked()
    assert ended.is_set()


async def test_new_rows_do_not_overtake_those_that_nobody_has_taken_up(
    nursery: trio.Nursery,
) -> None:
    """Though there is room again before `run` has looked, and they count as not sent until then."""
    writer = Writer(rows=1)
    writer.sender.put([batch_of(1), batch_of(2)])
    assert writer.take() == ["1"]
    writer.sender.put([batch_of(3)])
    assert writer.sent == ["1"]
    with trio.move_on_after(0) as patience:
        await writer.sender.wait_sent()
    assert patience.cancelled_caught
    nursery.start_soon(writer.sender.run)
    await wait_all_tasks_blocked()
    assert writer.take() == ["2"]
    await wait_all_tasks_blocked()
    assert writer.take() == ["3"]
    await writer.sender.wait_sent()
    writer.sender.close()


async def test_an_empty_batch_is_not_sent() -> None:
    """It would take a place in the channel."""
    writer = Writer(batches=1)
    writer.sender.put([batch_of(), batch_of(1)])
    assert writer.sent == ["1"]


async def test_waiting_rows_of_a_writer_that_is_gone_are_not_noted() -> None:
    """The error ends the task, and the budget has their bytes."""
    writer = Writer(batches=1)
    writer.sender.put([batch_of(1), batch_of(2)])
    writer._batches.close()
    with pytest.raises(trio.BrokenResourceError):
        await writer.sender.run()
    assert writer.sent == ["1"]
    assert writer.budget.used_bytes == ROW_BYTES  # of the first, which the writer had
