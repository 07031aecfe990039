"""The status in a terminal: all at a glance, the worst first, and a clear error if nothing answers."""

import io
from functools import partial
from pathlib import Path

import pytest
import trio
from rich.console import Console

from trio_collector.commands import status
from trio_collector.config.settings import CollectorSection, StorageSection
from trio_collector.endpoint.task import run_endpoint
from trio_collector.errors import EndpointError
from trio_collector.telemetry.live_state import LiveState
from trio_collector.telemetry.status_document import (
    ConnectionStatus,
    Health,
    Reason,
    RecentEventStatus,
    Status,
    StatusDocument,
    StorageStatus,
    StreamStatus,
)


def stream(symbol: str, state: str = "live", *, is_dead: bool = False) -> StreamStatus:
    return StreamStatus(
        exchange="binance",
        symbol=symbol,
        data_type="orderbook",
        connection="c",
        state=state,
        was_subscribed=True,
        is_dead=is_dead,
        rows=1_234,
        rows_per_s=56.7,
        age_s=0.4,
        lag_ms=12.0,
        gaps=0,
        latest_gap_age_s=None,
        history=(1.0, 2.0, 4.0),
    )


@pytest.fixture
def document() -> StatusDocument:
    return StatusDocument(
        version="1",
        server="tokyo-1",
        now_us=0,
        uptime_s=7_300.0,
        health=Health(Status.DEGRADED, (Reason("dead_stream", "no data: somebody"),)),
        connections=(ConnectionStatus("c", is_up=True, sessions=1, since_s=1.0, streams=2),),
        streams=(stream("a"), stream("b", "down"), stream("c", is_dead=True), stream("d", "new")),
        storage=StorageStatus(
            "both",
            disk_free_bytes=81_500_000_000,
            uploads=1,
            uploaded_bytes=2_000,
            upload_failures=3,
        ),
        happenings=tuple(
            RecentEventStatus(
                f"okx {name} trade", "gap", "expected 7, got 9", 0, -90_000_000, times
            )
            for times, name in enumerate("abcdef", start=1)
        ),
    )


def text_of(document: StatusDocument) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(status.render(document))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_it_says(document: StatusDocument) -> None:
    """The verdict with its reasons, the figures, and one line for each stream."""
    text = text_of(document)
    assert "▲ degraded  up 2.0 h  tokyo-1" in text
    assert "no data: somebody" in text
    assert "connections 1/1" in text
    assert "disk free 82 GB" in text
    assert "56.7 ▃▅█ 0.4 s 12 ms" in " ".join(text.split())


def test_delivery_and_recent_events(document: StatusDocument) -> None:
    """What was delivered is there, and what happened lately, of which not all."""
    lines = [" ".join(line.split()) for line in text_of(document).splitlines()]
    assert "sealed 0 files uploaded 1 file (2 kB) failed 3 unparsed 0" in lines
    assert "90 s gap okx a trade expected 7, got 9" in lines
    assert "90 s gap x2 okx b trade expected 7, got 9" in lines
    assert not any("okx f trade" in line for line in lines)


def test_trouble_comes_first(document: StatusDocument) -> None:
    """Streams in trouble are on top, each with a sign beside the word."""
    lines = [line.split() for line in text_of(document).splitlines() if "binance" in line]
    assert [line[3] for line in lines] == ["b", "c", "d", "a"]
    assert [line[0] for line in lines] == ["✖", "✖", "?", "✔"]


def test_it_fits_into_80_columns(document: StatusDocument) -> None:
    """Nothing is cut off in a terminal of the usual width."""
    assert "…" not in text_of(document)
    assert max(map(len, text_of(document).splitlines())) <= 80


@pytest.fixture
async def url(tmp_path: Path, nursery: trio.Nursery) -> str:
    """Where an endpoint answers."""
    storage = StorageSection(mode="local", data_dir=str(tmp_path))
    run = partial(
        run_endpoint, CollectorSection(metrics_port=0), storage, LiveState(), server="here"
    )
    started = await nursery.start(run)
    assert isinstance(started, str)
    return started


async def test_one_look(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --watch it prints once."""
    await status.show_status(url)
    assert "here" in capsys.readouterr().out


async def test_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the status document."""
    await status.show_status(url, as_json=True)
    assert '"server": "here"' in capsys.readouterr().out


async def test_watching(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --watch it goes on until it is cancelled."""
    monkeypatch.setattr(status, "SAMPLE_S", 0.05)
    with trio.move_on_after(0.5) as scope:
        await status.show_status(url, is_watch=True)
    assert scope.cancelled_caught
    assert "here" in capsys.readouterr().out


@pytest.mark.parametrize("bad", ["http://127.0.0.1:1", "http://[", "nonsense"])
async def test_nobody_answers(bad: str) -> None:
    """The error names the address and what to do."""
    with pytest.raises(EndpointError, match=r"no collector answers at .*/api/status.*--url"):
        await status.fetch_status(bad)


async def test_somebody_else_answers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not a collector is recognised."""
    with pytest.raises(EndpointError, match="404"):
        await status.fetch_status(f"{url}nested")
