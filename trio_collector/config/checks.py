"""What can be wrong with sections whose values are each of the right type: contradictions, warnings."""

import os.path
from collections.abc import Iterator
from pathlib import PurePath

from trio_collector.config.market_checks import folder_name_fault, market_warnings
from trio_collector.config.settings import AwsSection, Config, StorageSection, WebsocketSection
from trio_collector.config.urls import http_url_fault
from trio_collector.errors import Problem

# The slowest keepalive of the five exchanges is every 20 s (exchanges' documents, see their files);
# with 5 s for the answer a sound connection has received a frame.
QUIET_CONNECTION_S = 25.0


def contradictions(
    websocket: WebsocketSection | None, storage: StorageSection | None, aws: AwsSection | None
) -> Iterator[Problem]:
    """Yield what is wrong with sections whose values are each of the right type.

    None stands for a section that could not be read; what depends on it is not judged.
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
    if fault := folder_name_fault(aws.home_server_name or "-"):
        yield Problem("aws.home_server_name", fault)
    if aws.endpoint_url and (url_fault := http_url_fault(aws.endpoint_url)):
        yield Problem("aws.endpoint_url", url_fault)


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
