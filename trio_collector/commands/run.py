"""The command `run`: the process is set up, then collects until a signal."""

import os
import sys
from functools import partial
from pathlib import Path

import structlog
import trio

from trio_collector.app import collect, plan
from trio_collector.commands.open_files import raise_file_limit
from trio_collector.commands.signals import run_until_signal
from trio_collector.config.checks import warnings
from trio_collector.config.loading import find_config
from trio_collector.config.settings import CollectorSection, Config
from trio_collector.config.sharding import load_part
from trio_collector.logs.redaction import secret_values
from trio_collector.logs.setup import LogFiles, configure_logging, log_level

log = structlog.get_logger(__name__)

# How long a busy event loop may keep the interpreter from the threads that write. With CPython's
# 5 ms an append, which needs the interpreter some 40 times, falls behind a firehose: 443 MB of
# resident memory for 290,000 rows/s, against 296 MB with this, at the same rate.
# (tests/bench/firehose.py)
SWITCH_INTERVAL_S = 0.0005


def run_collector(config: Path | None, shard: str | None) -> bool:
    """Collect until a signal; False if the drain was cut off.

    Raises ConfigError before anything is created, and DataDirLocked.
    """
    configure_logging(log_level(os.environ), secrets=secret_values(os.environ))
    loaded = load_part(find_config(config, os.environ), shard)
    connections = plan(loaded, os.environ)
    _configure_logging(loaded.collector)
    if not connections:
        log.warning("this shard has no market", shard=shard)
    _log_warnings(loaded)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    raise_file_limit()
    is_clean = trio.run(run_until_signal, partial(collect, loaded, connections))
    if not is_clean:
        log.error("drain cut off", remedy="the next start seals what is left in data_dir")
    return is_clean


def _configure_logging(section: CollectorSection) -> None:
    """Log as the configuration says, now that there is one."""
    files = LogFiles(Path(section.log_dir), section.log_retention_days)
    configure_logging(
        log_level(os.environ),
        section.log_format,
        files=files if section.log_dir else None,
        secrets=secret_values(os.environ),
    )


def _log_warnings(config: Config) -> None:
    for problem in warnings(config):
        log.warning("configuration", place=problem.place, problem=problem.text)
