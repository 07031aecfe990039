"""The configuration: typed, checked as a whole before anything starts.

`parse_config(text)` is pure. It reports every problem at once, each with its place
(`markets[2].feeds[0]`) and what would be right, so that a file is mended in one go. Sections and
keys are those of the Rust collector; its files load unchanged. What may be meant, and still
deserves a word, is left to `warnings`.
"""

import os.path
import tomllib
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from trio_collector.config.markets import MAX_NAME_BYTES, market_problems, market_warnings
from trio_collector.config.markets import Market as Market
from trio_collector.config.toml import Name, Seconds, in_toml, read_table, unknown_key
from trio_collector.config.urls import is_loopback, store_url_fault
from trio_collector.errors import ConfigError, Problem
from trio_collector.layout import encode_name

Days = Annotated[int, Meta(ge=0, description="a whole number of days from 0")]
Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Bytes = Annotated[int, Meta(ge=0, description="a whole number of bytes from 0")]
AtLeast64KiB = Annotated[int, Meta(ge=65_536, description="a whole number of bytes from 65536")]
AtLeast1MiB = Annotated[int, Meta(ge=1_048_576, description="a whole number of bytes from 1048576")]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a port number from 0 to 65535")]


class CollectorSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[collector]`: the process itself."""

    metrics_host: Name = "127.0.0.1"
    metrics_port: Port = 9090
    log_dir: str = ""
    log_retention_days: Days = 1
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
    max_file_bytes: AtLeast64KiB = 500_000_000
    flush_interval_secs: Seconds = 1.0
    sync_interval_secs: Seconds = 1.0
    min_free_bytes: Bytes = 1_000_000_000
    max_inflight_bytes: AtLeast1MiB = 268_435_456
    upload_concurrency: Count = 4


class WebsocketSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[websocket]`: every connection."""

    message_timeout_secs: Seconds = 30.0
    initial_retry_delay_secs: Seconds = 1.0
    max_retry_delay_secs: Seconds = 60.0
    streams_per_connection: Count = 1
    max_message_bytes: AtLeast64KiB = 16_777_216
    whole_books: bool = True


# The slowest keepalive of the five exchanges is every 20 s (exchanges' documents, see their files);
# with 5 s for the answer a sound connection has received a frame.
QUIET_CONNECTION_S = 25.0


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """All of it, checked."""

    collector: CollectorSection = CollectorSection()
    aws: AwsSection = AwsSection()
    storage: StorageSection = StorageSection()
    websocket: WebsocketSection = WebsocketSection()
    markets: tuple[Market, ...]


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "collector": CollectorSection,
    "aws": AwsSection,
    "storage": StorageSection,
    "websocket": WebsocketSection,
}


def find_config(argument: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the file to load: `argument`, else $CONFIG_PATH, else ./config.toml."""
    return argument or Path(environ.get("CONFIG_PATH") or "config.toml")


def load_config(path: Path) -> Config:
    """Return the configuration in the file `path`.

    Raises ConfigError with every problem found, also when the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as exc:
        hint = "no such file; name one with --config FILE or $CONFIG_PATH"
        raise ConfigError([Problem(str(path), hint)]) from exc
    except OSError as exc:
        raise ConfigError([Problem(str(path), f"cannot be read: {exc.strerror}")]) from exc
    except UnicodeDecodeError as exc:
        fault = f"not UTF-8: byte {exc.start} is {exc.object[exc.start]:#04x}; TOML is UTF-8"
        raise ConfigError([Problem(str(path), fault)]) from exc
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "file") -> Config:
    """Return the configuration in the TOML `text`; `name` is what problems call the whole of it.

    Raises ConfigError with every problem found.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError([Problem(name, f"not TOML: {exc}")]) from exc
    problems = [
        unknown_key(key, (*SECTIONS, "markets"), key)
        for key in tables
        if key not in (*SECTIONS, "markets")
    ]
    sections: dict[str, Any] = {
        key: read_table(section, tables.get(key, {}), key, problems)
        for key, section in SECTIONS.items()
    }
    markets = _read_markets(tables.get("markets", []), problems)
    problems += _contradictions(sections["websocket"], sections["storage"], sections["aws"])
    problems += market_problems(markets)
    if problems:
        raise ConfigError(problems)
    return Config(markets=tuple(market for market in markets if market), **sections)


def _read_markets(tables: Any, problems: list[Problem]) -> list[Market | None]:
    """Return the markets in their places; None where one is not of the right form."""
    if isinstance(tables, dict):
        problems.append(Problem("markets", "one table; write [[markets]], with two brackets"))
    elif not isinstance(tables, list):
        problems.append(Problem("markets", f"expected [[markets]] tables, got {in_toml(tables)}"))
    elif not tables:
        problems.append(Problem("markets", "no market is configured; add a [[markets]] table"))
    else:
        return [
            read_table(Market, table, f"markets[{i}]", problems) for i, table in enumerate(tables)
        ]
    return []


def _contradictions(
    websocket: WebsocketSection | None, storage: StorageSection | None, aws: AwsSection | None
) -> Iterator[Problem]:
    """Yield what is wrong with values that are each of the right type.

    A section that is not is None; what it would have to agree with is not judged.
    """
    if websocket:
        yield from _websocket_contradictions(websocket)
    if storage:
        yield from _storage_contradictions(storage)
    if aws:
        yield from _aws_contradictions(aws)
    if websocket and storage and websocket.max_message_bytes > storage.max_inflight_bytes:
        yield Problem(
            "websocket.max_message_bytes",
            f"{websocket.max_message_bytes} is more than storage.max_inflight_bytes"
            f" ({storage.max_inflight_bytes}), which bounds all messages together; lower the first",
        )


def _websocket_contradictions(websocket: WebsocketSection) -> Iterator[Problem]:
    if websocket.initial_retry_delay_secs > websocket.max_retry_delay_secs:
        yield Problem(
            "websocket.initial_retry_delay_secs",
            f"{websocket.initial_retry_delay_secs:g} is more than max_retry_delay_secs"
            f" ({websocket.max_retry_delay_secs:g}); the delay grows from the first to the second",
        )


def _aws_contradictions(aws: AwsSection) -> Iterator[Problem]:
    if len(encode_name(aws.home_server_name or "-")) > MAX_NAME_BYTES:
        fault = f"too long for a folder; at most {MAX_NAME_BYTES} bytes once encoded"
        yield Problem("aws.home_server_name", fault)
    if aws.endpoint_url and (url_fault := store_url_fault(aws.endpoint_url)):
        yield Problem("aws.endpoint_url", url_fault)
    elif _is_plain_abroad(aws.endpoint_url):
        fault = "is not encrypted; use https://, for http:// stays on this machine"
        yield Problem("aws.endpoint_url", f"{aws.endpoint_url!r} {fault}")


def _is_plain_abroad(url: str) -> bool:
    """Return whether `url` would send what is signed over a network without TLS."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _storage_contradictions(storage: StorageSection) -> Iterator[Problem]:
    for key in ("flush_interval_secs", "sync_interval_secs"):
        if getattr(storage, key) > storage.max_file_age_secs:
            yield Problem(
                f"storage.{key}",
                f"{getattr(storage, key):g} is more than max_file_age_secs"
                f" ({storage.max_file_age_secs:g}); a file would be sealed before it comes to that",
            )
    if storage.mode != "s3" and _is_inside(storage.local_path, storage.data_dir):
        yield Problem(
            "storage.local_path",
            f"{storage.local_path!r} is in data_dir ({storage.data_dir!r}); sealed files move out"
            " of the one into the other, so keep them apart",
        )


def _is_inside(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or below it, by their spelling."""
    return PurePath(os.path.normpath(path)).is_relative_to(os.path.normpath(folder))


def warnings(config: Config) -> list[Problem]:
    """Return what is allowed in `config`, and likely not what was meant."""
    found = [*market_warnings(config.markets)]
    silence_s = config.websocket.message_timeout_secs
    if silence_s < QUIET_CONNECTION_S:
        advice = f"below {QUIET_CONNECTION_S:g} a sound connection of a quiet market is cut"
        found.append(Problem("websocket.message_timeout_secs", f"{silence_s:g}: {advice}"))
    if config.storage.max_file_age_secs > 3600:
        advice = "no file spans two UTC hours; more than 3600 changes nothing"
        found.append(Problem("storage.max_file_age_secs", advice))
    return found
