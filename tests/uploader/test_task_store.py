"""From the spool into the bucket: what is removed is proven, and what cannot be delivered waits."""

import io
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
import trio
from prometheus_client import generate_latest
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.bucket import Bucket, Fault, FaultScript, Operation
from tests.support.stores import OpenStore
from trio_collector.config.settings import AwsSection, StorageSection
from trio_collector.disk import LocalDisk
from trio_collector.errors import StoreError, StoreRejected, StoreUnavailable
from trio_collector.logs.setup import configure_logging
from trio_collector.telemetry import metrics
from trio_collector.telemetry.storage_state import DeliveryState
from trio_collector.threads import Workers
from trio_collector.uploader import spool as spools
from trio_collector.uploader.retry_schedule import Delays
from trio_collector.uploader.spool import SealedFile
from trio_collector.uploader.task import DELAYS, run_uploader

Seal = Callable[..., SealedFile]

FIRST_MS = 1_795_348_800_100

# For the tests with a real bucket on real sockets, which no virtual clock can pass over.
QUICK = Delays(first_s=0.02, longest_s=0.2)


class Delivery:
    """An uploader, the channel that wakes it, and its state."""

    def __init__(self, nursery: trio.Nursery, storage: StorageSection, **options: Any) -> None:
        self.wake_uploader, wakeups = trio.open_memory_channel[None](1)
        self.state = DeliveryState()
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run, storage, wakeups, {"delays": QUICK, **options})

    async def _run(
        self,
        storage: StorageSection,
        wakeups: trio.MemoryReceiveChannel[None],
        options: Mapping[str, Any],
    ) -> None:
        with self.scope:
            await run_uploader(storage, wakeups, state=self.state, **options)
        self.ended.set()

    async def finish(self) -> None:
        self.wake_uploader.close()
        with trio.fail_after(30):
            await self.ended.wait()


@pytest.fixture
def storage(spool: Path) -> StorageSection:
    return StorageSection(mode="s3", data_dir=str(spool), local_path=str(spool.parent / "archive"))


@pytest.fixture
async def bucket(start_bucket: Any) -> Bucket:
    bucket: Bucket = await start_bucket()
    return bucket


@pytest.fixture
def start(
    nursery: trio.Nursery, storage: StorageSection, bucket: Bucket, store_of: OpenStore
) -> Callable[..., Delivery]:
    """Start an uploader into the bucket."""

    def start(**options: Any) -> Delivery:
        return Delivery(nursery, options.pop("storage", storage), store=store_of(bucket), **options)

    return start


Starter = Callable[..., Delivery]


@pytest.fixture
def start_virtual(
    nursery: trio.Nursery,
    storage: StorageSection,
    memory_store: Any,
    inline_workers: Workers,
) -> Starter:
    """Start an uploader into a store in memory, on the virtual clock, with delays as they are."""
    options = {"store": memory_store, "workers": inline_workers, "delays": DELAYS}
    return lambda: Delivery(nursery, storage, **options)


def failing(exc: StoreError) -> Callable[[str, str], Awaitable[None]]:
    """Let each call to a store fail."""

    async def befall(_call: str, _key: str) -> None:
        await trio.lowlevel.checkpoint()
        raise exc

    return befall


def stalling(*keys: str) -> Callable[[str, str], Awaitable[None]]:
    """Let putting one of `keys` take for ever."""

    async def befall(call: str, key: str) -> None:
        await trio.lowlevel.checkpoint()
        if call == "put" and key in keys:
            await trio.sleep_forever()

    return befall


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"collector_{name}", labels) or 0.0


async def test_spool_is_emptied(spool: Path, seal: Seal, bucket: Bucket, start: Starter) -> None:
    """Leftovers of any earlier process are in the bucket, and then no longer on disk."""
    keys = [str(seal(FIRST_MS + n, b"%d" % n).key) for n in range(9)]
    sent, retried = value("s3_upload_bytes_total"), value("s3_upload_retries_total")
    done = value("s3_upload_seconds_count", status="success")
    await start().finish()
    assert sorted(bucket.objects) == keys
    assert files_in(spool) == []
    assert value("s3_upload_bytes_total") - sent == 9
    assert value("s3_upload_retries_total") == retried
    assert value("s3_upload_seconds_count", status="success") - done == 9
    assert value("upload_queue_depth") == value("spool_bytes") == value("spool_age_seconds") == 0


async def test_oldest_first(
    seal: Seal, bucket: Bucket, start: Starter, storage: StorageSection
) -> None:
    """What is oldest leaves first."""
    for n in (3, 1, 2, 0):
        seal(FIRST_MS + n)
    await start(storage=msgspec.structs.replace(storage, upload_concurrency=1)).finish()
    puts = [each.key for each in bucket.requests if each.operation is Operation.PUT_OBJECT]
    assert puts == sorted(bucket.objects)


async def test_one_stalls(
    seal: Seal, memory_store: Any, start_virtual: Starter, autojump_clock: MockClock
) -> None:
    """While one upload stalls the others go on."""
    keys = [str(seal(FIRST_MS + n).key) for n in range(8)]
    memory_store.befall = stalling(keys[0])
    delivery = start_virtual()
    await wait_all_tasks_blocked()
    assert sorted(memory_store.objects) == keys[1:]
    delivery.scope.cancel()


async def test_several_at_once(
    seal: Seal, memory_store: Any, start_virtual: Starter, autojump_clock: MockClock
) -> None:
    """No more than `upload_concurrency` are under way."""
    keys = [str(seal(FIRST_MS + n).key) for n in range(8)]
    memory_store.befall = stalling(*keys)
    delivery = start_virtual()
    await wait_all_tasks_blocked()
    assert sorted(memory_store.keys_of("put")) == keys[:4]
    assert delivery.state.active == 4
    delivery.scope.cancel()


async def test_both(
    spool: Path, seal: Seal, bucket: Bucket, start: Starter, storage: StorageSection
) -> None:
    """With "both" a file is proven in the bucket, and then moved under the same key."""
    sealed = seal(FIRST_MS, b"rows")
    await start(storage=msgspec.structs.replace(storage, mode="both")).finish()
    assert list(bucket.objects) == [str(sealed.key)]
    assert files_in(spool) == []
    assert files_in(spool.parent / "archive") == [str(sealed.key)]


async def test_both_after_a_crash(
    spool: Path, seal: Seal, bucket: Bucket, start: Starter, storage: StorageSection
) -> None:
    """A process that died between upload and move is finished: one object, one file, one name."""
    sealed = seal(FIRST_MS, b"rows")
    copy = spool.parent / "archive" / sealed.key
    copy.parent.mkdir(parents=True)
    copy.hardlink_to(sealed.path)
    both = msgspec.structs.replace(storage, mode="both")
    await start(storage=both).finish()
    seal(FIRST_MS, b"rows")
    await start(storage=both).finish()
    assert list(bucket.objects) == [str(sealed.key)]
    assert files_in(spool) == []
    assert files_in(spool.parent / "archive") == [str(sealed.key)]


async def test_name_is_the_same_in_both_places(
    spool: Path, seal: Seal, bucket: Bucket, start: Starter, storage: StorageSection
) -> None:
    """A file that had to take another name in the bucket has that one in `local_path`, too."""
    seal(FIRST_MS, b"others")
    await start().finish()
    seal(FIRST_MS, b"rows")
    await start(storage=msgspec.structs.replace(storage, mode="both")).finish()
    (name,) = files_in(spool.parent / "archive")
    assert PurePosixPath(name).name == f"{FIRST_MS + 1}.parquet"
    assert bucket.objects[name].content == b"rows"


async def test_bad_line(spool: Path, seal: Seal, bucket: Bucket, start: Starter) -> None:
    """With half of all requests failing everything arrives, once, under its own name."""
    keys = [str(seal(FIRST_MS + 10 * n, b"%d" % n).key) for n in range(25)]
    quick = tuple(
        fault
        for fault in Fault
        if fault not in (Fault.STALLED_BODY, Fault.STALLED_REPLY, Fault.DRIP, Fault.CORRUPTED)
    )
    bucket.set_faults(FaultScript(rate=0.5, kinds=quick, seed=7, retry_after_s=0))
    await start().finish()
    assert sorted(bucket.objects) == keys
    assert all(stored.writes == 1 for stored in bucket.objects.values())
    assert files_in(spool) == []


async def test_store_that_is_down(
    spool: Path, seal: Seal, memory_store: Any, start_virtual: Starter, autojump_clock: MockClock
) -> None:
    """A store that is away is said once to be, is asked seldom, and gets everything when it is back."""
    for n in range(50):
        seal(FIRST_MS + n)
    memory_store.befall = failing(StoreUnavailable("away"))
    with capture_logs() as entries:
        delivery = start_virtual()
        await trio.sleep(600)
        assert delivery.state.is_store_down
        assert delivery.state.failures < 25
        assert delivery.state.backlog_age_s(2e9) > 0
        assert len(files_in(spool)) == 50
        memory_store.befall = memory_store.pass_by
        await trio.sleep(DELAYS.longest_s)
        assert files_in(spool) == []
        await delivery.finish()
    events = [each["event"] for each in entries]
    assert events.count("store is down") == 1
    assert events.count("store is back") == 1
    assert not delivery.state.is_store_down


async def test_refusal_is_loud_and_harmless(
    spool: Path,
    seal: Seal,
    start_bucket: Any,
    store_of: OpenStore,
    nursery: trio.Nursery,
    storage: StorageSection,
) -> None:
    """A refusal is one ERROR with its remedy; every file stays, and the end does not wait for it."""
    for n in range(30):
        seal(FIRST_MS + n)
    bucket = await start_bucket(denied=frozenset({Operation.PUT_OBJECT}))
    with capture_logs() as entries:
        delivery = Delivery(nursery, storage, store=store_of(bucket))
        await delivery.finish()
    assert len(files_in(spool)) == 30
    errors = [each for each in entries if each["log_level"] == "error"]
    assert [each["event"] for each in errors] == [
        "store refuses, files are kept",
        "files left in the spool",
    ]
    assert errors[0]["remedy"]
    assert errors[1]["files"] == 30
    assert delivery.state.refusal
    assert "AccessDenied" in delivery.state.refusal


async def test_refusal_that_is_mended(
    spool: Path, seal: Seal, memory_store: Any, start_virtual: Starter, autojump_clock: MockClock
) -> None:
    """Once the keys are right, files are delivered without a restart."""
    seal(FIRST_MS)
    memory_store.befall = failing(StoreRejected("403 SignatureDoesNotMatch"))
    delivery = start_virtual()
    await wait_all_tasks_blocked()
    said = delivery.state.refusal
    memory_store.befall = memory_store.pass_by
    await trio.sleep(DELAYS.longest_s)
    assert (said, delivery.state.refusal) == ("403 SignatureDoesNotMatch", None)
    assert files_in(spool) == []
    await delivery.finish()


async def test_one_bad_file_holds_up_no_other(
    spool: Path, seal: Seal, bucket: Bucket, start: Starter
) -> None:
    """A file that cannot be read is logged and kept; the others go."""
    bad, good = seal(FIRST_MS), seal(FIRST_MS + 1)
    bad.path.unlink()
    bad.path.mkdir()  # no file at all, though it is called as one
    await start().finish()
    assert list(bucket.objects) == [str(good.key)]


async def test_file_that_a_person_took(
    seal: Seal, memory_store: Any, start_virtual: Starter, autojump_clock: MockClock
) -> None:
    """A file that is gone from the spool is let go of, with a word."""
    sealed = seal(FIRST_MS)
    memory_store.befall = failing(StoreUnavailable("away"))
    with capture_logs() as entries:
        delivery = start_virtual()
        await wait_all_tasks_blocked()
        sealed.path.unlink()
        memory_store.befall = memory_store.pass_by
        await delivery.finish()
    assert "file is gone from the spool" in [each["event"] for each in entries]
    assert not memory_store.objects


async def test_changed_while_it_was_sent(
    spool: Path, seal: Seal, bucket: Bucket, start: Starter
) -> None:
    """What is removed is what was proven: a file that changed meanwhile is delivered anew."""
    sealed = seal(FIRST_MS, b"rows")

    class Disk(LocalDisk):
        """A disk on which the file changes once, right after it was sent."""

        stats = 0

        def stat(self, path: Path | str, *, follows_links: bool = True) -> os.stat_result:
            if path == sealed.path:
                self.stats += 1
                if self.stats == 2:
                    sealed.path.write_bytes(b"other rows")
            return super().stat(path, follows_links=follows_links)

    await start(disk=Disk()).finish()
    assert files_in(spool) == []
    assert sorted(str(o.content) for o in bucket.objects.values()) == ["b'other rows'", "b'rows'"]
    assert bucket.objects[str(sealed.key)].content == b"rows"


async def test_cancel(
    spool: Path, seal: Seal, memory_store: Any, start_virtual: Starter, autojump_clock: MockClock
) -> None:
    """Cancelled, it leaves at once and says how much is left; the next start delivers it."""
    sealed = seal(FIRST_MS)
    memory_store.befall = stalling(str(sealed.key))
    with capture_logs() as entries:
        delivery = start_virtual()
        await wait_all_tasks_blocked()
        delivery.scope.cancel()
        await wait_all_tasks_blocked()
    assert delivery.ended.is_set()
    assert entries[-1]["event"] == "files left in the spool"
    memory_store.befall = memory_store.pass_by
    await start_virtual().finish()
    assert list(memory_store.objects) == [str(sealed.key)]
    assert files_in(spool) == []


async def test_long_queue(
    spool: Path, seal: Seal, bucket: Bucket, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a long queue only the front is in memory, and all of it is delivered."""
    monkeypatch.setattr(spools, "FRONT", 3)
    for n in range(20):
        seal(FIRST_MS + n)
    await start().finish()
    assert len(bucket.objects) == 20
    assert files_in(spool) == []


async def test_folders_of_past_days(spool: Path, seal: Seal, start: Starter) -> None:
    """Empty folders of days before yesterday are removed; the writer may still need the others."""
    now_s = FIRST_MS / 1000  # 2026-11-22
    for day in ("2026-11-20", "2026-11-21", "2026-11-22"):
        (spool / "binance/btcusdt/trade" / day).mkdir(parents=True)
    (spool / "binance/btcusdt/trade/2026-11-19").mkdir()
    (spool / "binance/btcusdt/trade/2026-11-19/1.arrows").touch()
    (spool / "binance/ethusdt/not-a-day").mkdir(parents=True)
    await start(now_s=lambda: now_s).finish()
    days = sorted(path.name for path in (spool / "binance/btcusdt/trade").iterdir())
    assert days == ["2026-11-19", "2026-11-21", "2026-11-22"]
    assert (spool / "binance/ethusdt/not-a-day").exists()


async def test_bucket_is_tried_at_the_start(
    memory_store: Any, start_virtual: Starter, autojump_clock: MockClock
) -> None:
    """Before the first file is there the bucket is looked for, and what is wrong with it is told."""
    memory_store.befall = failing(StoreRejected("403 InvalidAccessKeyId"))
    with capture_logs() as entries:
        delivery = start_virtual()
        await wait_all_tasks_blocked()
        assert delivery.state.refusal == "403 InvalidAccessKeyId"
        await delivery.finish()
    assert [call for _time, call, _key in memory_store.calls] == ["ensure_bucket"]
    assert [each["event"] for each in entries] == ["store refuses, files are kept"]


async def test_store_is_opened_from_the_configuration(
    seal: Seal,
    bucket: Bucket,
    storage: StorageSection,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `aws` alone the store is opened, with the keys of the environment."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY", bucket.access_key)
    monkeypatch.setenv("AWS_SECRET_KEY", bucket.secret_key)
    aws = AwsSection(region=bucket.region, bucket=bucket.bucket, endpoint_url=bucket.endpoint_url)
    seal(FIRST_MS)
    await Delivery(nursery, storage, aws=aws).finish()
    assert len(bucket.objects) == 1


async def test_secrets_stay_secret(
    spool: Path,
    seal: Seal,
    start_bucket: Any,
    storage: StorageSection,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With everything logged that can be, neither log nor metrics nor state show a secret."""
    stream = io.StringIO()
    configure_logging(logging.DEBUG, "json", stream)
    bucket = await start_bucket(secret_key="CANARY-secret", session_token="CANARY-token")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "CANARY-token")
    bucket.set_faults(
        FaultScript(
            rate=0.4,
            seed=3,
            kinds=(
                Fault.EXPIRED_TOKEN,
                Fault.ERROR_AFTER,
                Fault.SKEWED,
                Fault.CLOSED,
                Fault.FALSE_ETAG,
            ),
        )
    )
    for n in range(10):
        seal(FIRST_MS + 10 * n)
    aws = AwsSection(region=bucket.region, bucket=bucket.bucket, endpoint_url=bucket.endpoint_url)
    delivery = Delivery(nursery, storage, aws=aws)
    await delivery.finish()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY-other")
    seal(FIRST_MS + 999)
    refused = Delivery(nursery, storage, aws=aws)
    await refused.finish()
    assert refused.state.refusal
    said = stream.getvalue() + generate_latest(metrics.REGISTRY).decode()
    assert "file uploaded" in said
    assert "CANARY" not in said + repr(delivery.state) + repr(refused.state)
