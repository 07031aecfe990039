"""The configuration, loaded: found, read, and checked as a whole before anything starts.

`parse_config(text)` is pure. It reports every problem at once, each with its place
(`markets[2].feeds[0]`) and what would be right, so that a file is mended in one go. What is allowed
but likely a mistake is left to `checks.warnings`.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trio_collector.config.checks import contradictions
from trio_collector.config.market_checks import market_problems
from trio_collector.config.markets import Market
from trio_collector.config.settings import SECTIONS, Config
from trio_collector.config.toml import in_toml, read_table, unknown_key
from trio_collector.errors import ConfigError, Problem


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
    """Return the configuration in the TOML `text`; `name` is what problems call the file.

    Raises ConfigError with every problem found.
    """
    tables = _parse_toml(text, name)
    known = (*SECTIONS, "markets")
    problems = [unknown_key(key, known, key) for key in tables if key not in known]
    sections: dict[str, Any] = {
        key: read_table(section, tables.get(key, {}), key, problems)
        for key, section in SECTIONS.items()
    }
    markets = _read_markets(tables.get("markets", []), problems)
    problems += contradictions(sections["websocket"], sections["storage"], sections["aws"])
    problems += market_problems(markets)
    if problems:
        raise ConfigError(problems)
    return Config(markets=tuple(market for market in markets if market), **sections)


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError([Problem(name, f"not TOML: {exc}")]) from exc


def _read_markets(tables: Any, problems: list[Problem]) -> list[Market | None]:
    """Return the markets in their places; None for a table that could not be read."""
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
