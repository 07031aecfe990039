"""The command `status`: what the status page shows, in a terminal, once or live.

`render` is pure; `fetch_status` requests `/api/status`.
"""

from collections.abc import Iterator, Sequence

import httpx
import msgspec
import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trio_collector.errors import EndpointError
from trio_collector.telemetry.status_document import (
    SAMPLE_S,
    Status,
    StatusDocument,
    StorageStatus,
    StreamStatus,
)
from trio_collector.telemetry.stream_state import StreamState

DEFAULT_URL = "http://127.0.0.1:9090"
PATIENCE_S = 5.0
SPARK_WIDTH = 10  # with it the table fits into 80 columns
RECENT_EVENTS = 5

_TICKS = "▁▂▃▄▅▆▇█"
# A sign beside the colour, so that nothing is shown by colour alone.
_SIGNS = {
    Status.HEALTHY: ("✔", "green"),
    Status.STARTING: ("…", "cyan"),
    Status.DEGRADED: ("▲", "yellow"),
    Status.UNHEALTHY: ("✖", "red"),
}
_STATES = {
    StreamState.LIVE: ("✔", "green"),
    StreamState.SUBSCRIBED: ("…", "cyan"),
    StreamState.WAITING: ("…", "cyan"),
    StreamState.STALE: ("▲", "yellow"),
    StreamState.DOWN: ("✖", "red"),
    StreamState.REFUSED: ("✖", "red"),
    StreamState.STOPPED: ("-", "dim"),
}
_UNKNOWN = ("?", "dim")
_RANK = {"red": 0, "yellow": 1, "cyan": 2, "dim": 3, "green": 4}


async def show_status(url: str, *, is_watch: bool = False, as_json: bool = False) -> None:
    """Print the status of the collector at `url`; with `is_watch` until cancelled.

    Raises EndpointError if nothing answers like a collector at the first attempt.
    """
    console = Console()
    document = await fetch_status(url)
    if as_json:
        console.print_json(msgspec.json.encode(document).decode())
    elif is_watch:
        await _watch(console, url, document)
    else:
        console.print(render(document))


async def fetch_status(url: str) -> StatusDocument:
    """Return the status document of the collector at `url`; raises EndpointError."""
    address = f"{url.rstrip('/')}/api/status"
    try:
        return msgspec.json.decode(await _get(address), type=StatusDocument)
    except trio.TooSlowError as exc:
        text = f"{address} gave no answer within {PATIENCE_S:g} s"
        raise EndpointError(text) from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        reason = str(exc) or type(exc).__name__
        text = f"no collector answers at {address}: {reason}; name another one with --url"
        raise EndpointError(text) from exc
    except msgspec.DecodeError as exc:
        text = f"what answers at {address} is no collector of this version: {exc}"
        raise EndpointError(text) from exc


async def _get(address: str) -> bytes:
    # The collector is near; the proxy that the environment names is for remote hosts.
    async with httpx.AsyncClient(trust_env=False) as client:
        with trio.fail_after(PATIENCE_S):
            response = await client.get(address, timeout=PATIENCE_S)
    response.raise_for_status()
    return response.content


async def _watch(console: Console, url: str, document: StatusDocument) -> None:
    with Live(render(document), console=console, screen=console.is_terminal) as live:
        while True:
            await trio.sleep(SAMPLE_S)
            try:
                document = await fetch_status(url)
            except EndpointError as exc:
                lost = Text(f"✖ {exc}; this is the past", style="bold red")
                live.update(Group(lost, render(document)))
            else:
                live.update(render(document))


def render(document: StatusDocument) -> RenderableType:
    """Return `document` for a terminal, streams in trouble first."""
    parts: list[RenderableType] = [_headline(document), _figures(document), _streams(document)]
    if document.happenings:
        parts.append(_recent_events(document))
    return Group(*(line for part in parts for line in (part, Text())))


def _headline(document: StatusDocument) -> Text:
    sign, colour = _SIGNS[document.health.status]
    text = Text()
    text.append(f"{sign} {document.health.status}", style=f"bold {colour}")
    text.append(f"  up {_age(document.uptime_s)}", style="dim")
    if document.server:
        text.append(f"  {document.server}", style="dim")
    for reason in document.health.reasons:
        text.append(f"\n  {reason.text}")
    return text


def _figures(document: StatusDocument) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_row(
        f"connections {document.connections_up}/{len(document.connections)}",
        f"rows/s {document.rows_per_s:,.0f} {_spark(document.history)}",
        f"gaps {sum(each.gaps for each in document.streams):,}",
        f"dropped {document.messages_dropped:,}",
    )
    for row in _storage_figures(document.storage, document.unparsed_rows):
        table.add_row(*row)
    return table


def _storage_figures(storage: StorageStatus, unparsed_rows: int) -> Iterator[tuple[str, ...]]:
    yield (
        f"in memory {_bytes(storage.inflight_bytes)}",
        f"journals {storage.journals} ({_bytes(storage.journal_bytes)})",
        f"spool {storage.spool_files} ({_bytes(storage.spool_bytes)})",
        f"disk free {_bytes(storage.disk_free_bytes)}",
    )
    yield (
        f"sealed {_files(storage.files_sealed)}",
        f"uploaded {_files(storage.uploads)} ({_bytes(storage.uploaded_bytes)})",
        f"failed {storage.upload_failures:,}",
        f"unparsed {unparsed_rows:,}",
    )


def _streams(document: StatusDocument) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in ("state", "exchange", "symbol", "type"):
        table.add_column(name, no_wrap=True)
    for name in ("rows/s", "", "age", "lag", "gaps"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in sorted(document.streams, key=_order):
        table.add_row(*_cells(each))
    return table


def _cells(stream: StreamStatus) -> tuple[RenderableType, ...]:
    sign, colour = _mark(stream)
    return (
        Text(f"{sign} {stream.state}", style=colour),
        stream.exchange,
        stream.symbol,
        stream.data_type,
        f"{stream.rows_per_s:,.1f}",
        Text(_spark(stream.history), style="blue"),
        _age(stream.age_s),
        "-" if stream.lag_ms is None else f"{stream.lag_ms:,.0f} ms",
        Text(f"{stream.gaps:,}", style="red" if stream.gaps else "dim"),
    )


def _recent_events(document: StatusDocument) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in ("ago", "what happened", "where", "how"):
        table.add_column(name, no_wrap=name == "ago", overflow="fold")
    for each in document.happenings[:RECENT_EVENTS]:
        times = f" x{each.times:,}" if each.times > 1 else ""
        ago = _age((document.now_us - each.latest_us) / 1e6)
        table.add_row(ago, Text(f"{each.event}{times}", style="bold"), each.subject, each.text)
    return table


def _mark(stream: StreamStatus) -> tuple[str, str]:
    known = stream.state in set(StreamState)
    sign, colour = _STATES[StreamState(stream.state)] if known else _UNKNOWN
    return ("✖", "red") if stream.is_dead else (sign, colour)


def _order(stream: StreamStatus) -> tuple[int, str]:
    return _RANK[_mark(stream)[1]], stream.name


def _spark(numbers: Sequence[float]) -> str:
    """Return the latest of `numbers` as a line of blocks, as high as the highest of them."""
    latest = numbers[-SPARK_WIDTH:]
    top = max(latest, default=0.0) or 1.0
    return "".join(_TICKS[round(number / top * (len(_TICKS) - 1))] for number in latest)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _files(number: int) -> str:
    return f"{number:,} file{'' if number == 1 else 's'}"


def _bytes(size: int | None) -> str:
    if size is None:
        return "-"
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
