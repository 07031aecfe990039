"""The configuration: typed, checked as a whole before anything starts.

`parse_config(text)` is pure. It reports every problem at once, each with its place
(`markets[2].feeds[0]`) and what would be right, so that a file is mended in one go. Sections and
keys are those of the Rust collector; its files load unchanged.
"""

import difflib
import ipaddress
import tomllib
import urllib.parse
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from trio_collector.errors import ConfigError, Problem
from trio_collector.events import FeedType
from trio_collector.exchanges.adapter import plain_symbol

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(min_length=1)]
ExchangeName = Literal["binance", "coinbase", "upbit", "okx", "bybit"]


class CollectorSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[collector]`: the process itself."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9090
    log_dir: str = ""
    log_retention_days: Annotated[int, Meta(ge=0)] = 1
    log_format: Literal["auto", "console", "json"] = "auto"
    shutdown_grace_secs: Seconds = 25.0


class AwsSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[aws]`: the store."""

    region: Name = "us-west-2"
    bucket: Name = "crypto-exchange-data-collector"
    home_server_name: str = ""
    endpoint_url: str = ""
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    create_bucket: bool = True


class StorageSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[storage]`: the disk."""

    mode: Literal["local", "s3", "both"] = "s3"
    data_dir: Name = "data/parquet"
    local_path: Name = "data/archive"
    max_file_age_secs: Seconds = 3600.0
    max_file_bytes: Annotated[int, Meta(ge=65_536)] = 500_000_000
    flush_interval_secs: Seconds = 1.0
    sync_interval_secs: Seconds = 1.0
    min_free_bytes: Annotated[int, Meta(ge=0)] = 1_000_000_000
    max_inflight_bytes: Annotated[int, Meta(ge=1_048_576)] = 268_435_456


class WebsocketSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[websocket]`: every connection."""

    message_timeout_secs: Seconds = 30.0
    initial_retry_delay_secs: Seconds = 1.0
    max_retry_delay_secs: Seconds = 60.0
    streams_per_connection: Count = 1
    max_message_bytes: Annotated[int, Meta(ge=65_536)] = 16_777_216


class Market(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[[markets]]`: markets of one exchange that share their options."""

    exchange: ExchangeName
    symbols: Annotated[tuple[Name, ...], Meta(min_length=1)]
    feeds: Annotated[tuple[FeedType, ...], Meta(min_length=1)] = tuple(FeedType)
    base_url: str | None = None
    data_timeout_secs: Seconds | None = None
    depth: Literal[5, 10, 20] | None = None
    category: Literal["spot", "linear", "inverse"] | None = None
    book_channel: Literal["books", "books5", "bbo-tbt"] | None = None
    units: Literal[1, 5, 15, 30] | None = None


# Options of `[[markets]]` that only one exchange has.
EXCHANGE_OPTIONS = {
    "depth": "binance",
    "category": "bybit",
    "book_channel": "okx",
    "units": "upbit",
}


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """All of it, checked."""

    collector: CollectorSection = CollectorSection()
    aws: AwsSection = AwsSection()
    storage: StorageSection = StorageSection()
    websocket: WebsocketSection = WebsocketSection()
    markets: tuple[Market, ...]


def parse_config(text: str) -> Config:
    """Return the configuration in the TOML `text`.

    Raises ConfigError with every problem found.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError([Problem("file", f"not TOML: {exc}")]) from exc
    problems: list[Problem] = []
    sections = {
        name: _read_table(section, tables.pop(name, {}), name, problems)
        for name, section in _SECTIONS.items()
    }
    markets = _read_markets(tables.pop("markets", []), problems)
    problems += [_unknown(name, (*_SECTIONS, "markets"), name) for name in tables]
    if not problems:
        config = Config(markets=tuple(filter(None, markets)), **sections)
        problems = list(_contradictions(config))
        if not problems:
            return config
    raise ConfigError(problems)


_SECTIONS: dict[str, type[Any]] = {
    "collector": CollectorSection,
    "aws": AwsSection,
    "storage": StorageSection,
    "websocket": WebsocketSection,
}

T = TypeVar("T")


def _read_table(kind: type[T], table: Any, place: str, problems: list[Problem]) -> T | None:
    """Return `table` as a `kind`, or None after adding what is wrong with it to `problems`."""
    if not isinstance(table, dict):
        problems.append(Problem(place, f"expected a table [{place}], got {table!r}"))
        return None
    found = len(problems)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            problems.append(_unknown(key, tuple(fields), f"{place}.{key}"))
            continue
        read = _read_items if isinstance(value, list) else _read_value
        values[key] = read(fields[key].type, value, f"{place}.{key}", problems)
    problems += [
        Problem(f"{place}.{name}", "missing; it has no default")
        for name, field in fields.items()
        if field.required and name not in table
    ]
    return kind(**values) if len(problems) == found else None


def _read_value(kind: Any, value: Any, place: str, problems: list[Problem]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        problems.append(Problem(place, _explain(exc, value, kind)))
        return None


def _read_items(kind: Any, value: list[Any], place: str, problems: list[Problem]) -> Any:
    """Return the list `value` as a `kind`, looking at each item on its own."""
    found = len(problems)
    item_kind = _item_kind(kind)
    if item_kind is not None:
        for index, item in enumerate(value):
            _read_value(item_kind, item, f"{place}[{index}]", problems)
    return None if len(problems) > found else _read_value(kind, value, place, problems)


def _item_kind(kind: Any) -> Any:
    """Return the type of the items of a tuple type, None for any other type."""
    inner = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    return get_args(inner)[0] if getattr(inner, "__origin__", None) is tuple else None


def _explain(exc: msgspec.ValidationError, value: Any, kind: Any) -> str:
    """Return what is wrong with `value` and, for a choice, what would be right."""
    choices = _choices(kind)
    if choices:
        close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.6)
        hint = f"; did you mean {str(close[0])!r}?" if close else ""
        return f"unknown value {value!r}; choose one of {', '.join(choices)}{hint}"
    reason = str(exc).split(" - at ")[0]
    got = "" if ", got " in reason else f", got {value!r}"
    return f"{reason[:1].lower()}{reason[1:]}{got}"


def _choices(kind: Any) -> tuple[str, ...]:
    if isinstance(kind, type) and issubclass(kind, FeedType):
        return tuple(kind)
    options = [option for part in (kind, *get_args(kind)) for option in get_args(part)]
    return tuple(str(option) for option in options or get_args(kind) if _is_choice(option))


def _is_choice(option: Any) -> bool:
    return isinstance(option, (str, int))


def _unknown(name: str, known: tuple[str, ...], place: str) -> Problem:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return Problem(place, f"unknown key {name!r}; {hint}")


def _read_markets(tables: Any, problems: list[Problem]) -> list[Market | None]:
    if not isinstance(tables, list) or not tables:
        problems.append(Problem("markets", "no market is configured; add a [[markets]] section"))
        return []
    return [
        _read_table(Market, _lower_exchange(table), f"markets[{index}]", problems)
        for index, table in enumerate(tables)
    ]


def _lower_exchange(table: Any) -> Any:
    """Return `table` with its exchange in lower case: the Rust collector took any case."""
    if isinstance(table, dict) and isinstance(table.get("exchange"), str):
        return table | {"exchange": table["exchange"].lower()}
    return table


def _contradictions(config: Config) -> list[Problem]:
    """Return what is wrong between values that are each right on their own."""
    problems = []
    websocket, storage = config.websocket, config.storage
    if websocket.initial_retry_delay_secs > websocket.max_retry_delay_secs:
        problems.append(
            Problem(
                "websocket.initial_retry_delay_secs",
                f"{websocket.initial_retry_delay_secs:g} is more than max_retry_delay_secs"
                f" ({websocket.max_retry_delay_secs:g}); the delay only grows from the first to the second",
            )
        )
    if websocket.max_message_bytes > storage.max_inflight_bytes:
        problems.append(
            Problem(
                "websocket.max_message_bytes",
                f"{websocket.max_message_bytes} does not fit into storage.max_inflight_bytes"
                f" ({storage.max_inflight_bytes}); one such message could never be stored",
            )
        )
    if storage.mode != "s3" and _same_path(storage.data_dir, storage.local_path):
        problems.append(
            Problem(
                "storage.local_path",
                f"{storage.local_path!r} is data_dir; sealed files are moved from the one to the other",
            )
        )
    problems += _market_problems(config.markets)
    return problems


def _same_path(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


def _market_problems(markets: tuple[Market, ...]) -> list[Problem]:
    problems = []
    first_place: dict[tuple[str, str, FeedType], str] = {}
    for index, market in enumerate(markets):
        place = f"markets[{index}]"
        problems += [
            Problem(f"{place}.{option}", f"{market.exchange} has no such option; {owner} has")
            for option, owner in EXCHANGE_OPTIONS.items()
            if getattr(market, option) is not None and owner != market.exchange
        ]
        if market.base_url is not None and (fault := _url_fault(market.base_url)):
            problems.append(Problem(f"{place}.base_url", fault))
        for position, symbol in enumerate(market.symbols):
            name = f"{plain_symbol(symbol)}/{market.category or ''}"
            for feed in market.feeds:
                here = f"{place}.symbols[{position}]"
                first = first_place.setdefault((market.exchange, name, feed), here)
                if first != here:
                    text = (
                        f"{market.exchange} {symbol} {feed} is configured twice, first at {first}"
                    )
                    problems.append(Problem(here, text))
        if len(set(market.feeds)) < len(market.feeds):
            problems.append(Problem(f"{place}.feeds", "names a feed twice"))
    return problems


def _url_fault(url: str) -> str | None:
    """Return what is wrong with a `base_url`; None if it can be used."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as exc:
        return f"{url!r} is not a URL: {exc}"
    if parts.scheme not in ("ws", "wss") or not host:
        return f"{url!r} is not a WebSocket URL; it starts with wss:// and a host"
    if parts.query or parts.fragment or parts.username:
        return f"{url!r} has a query, a fragment or a user; give scheme, host, port and path alone"
    if parts.scheme == "ws" and not _is_loopback(host):
        return f"{url!r} is not encrypted; ws:// is for this machine alone, use wss://"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
