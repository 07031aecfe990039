"""The sections of the configuration: every key, its type and its default.

Sections and keys are those of the Rust collector, whose files load unchanged. `docs/configuration.md`
documents each key; a test compares the two.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trio_collector.config.markets import Market
from trio_collector.config.toml import Name, Seconds

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


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The whole configuration; `loading` returns it checked."""

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
