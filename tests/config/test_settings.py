"""The sections are what the example file and docs/configuration.md say: every key and its default."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from trio_collector.config.loading import parse_config
from trio_collector.config.markets import EXCHANGE_OPTIONS, ExchangeName, Market
from trio_collector.config.settings import SECTIONS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = {
    (section, key): (default.strip(" `"), effect.strip())
    for section, body in re.findall(r"(?ms)^## `\[+(\w+)\]+`\n(.*?)(?=^## |\Z)", DOCUMENT)
    for key, default, effect in re.findall(
        r"(?m)^\| `(\w+)` \|[^|]+\|[^|]*\|([^|]*)\|([^|]+)\|$", body
    )
}


def test_example_is_the_defaults() -> None:
    """The example file holds every key of every section, each at its default."""
    written = tomllib.loads(EXAMPLE)
    config = parse_config(EXAMPLE)
    for name, section in SECTIONS.items():
        assert set(written[name]) == set(section.__struct_fields__), name
        assert getattr(config, name) == section(), name


def test_example_names_every_option() -> None:
    """With its commented keys made active, the example holds every key of a market."""
    full = re.sub(r"^# (?=\w+ = )", "", EXAMPLE, flags=re.MULTILINE)
    assert len(parse_config(full).markets) == 5
    tables: list[Mapping[str, object]] = tomllib.loads(full)["markets"]
    assert {key for table in tables for key in table} == set(Market.__struct_fields__)
    assert {table["exchange"] for table in tables} == set(get_args(ExchangeName))
    for option, owner in EXCHANGE_OPTIONS.items():
        assert [table["exchange"] for table in tables if option in table] == [owner]


def test_example_explains_every_key() -> None:
    """Every key of the example but a market's name, active or not, carries a comment."""
    keys = re.findall(r"^(?:# )?(\w+) = (.+)$", EXAMPLE, flags=re.MULTILINE)
    bare = {key for key, rest in keys if " # " not in rest}
    assert bare == {"exchange", "symbols"}


@pytest.mark.parametrize(
    ("section", "key", "default"),
    [
        (name, key, getattr(section(), key))
        for name, section in SECTIONS.items()
        for key in section.__struct_fields__
    ],
)
def test_documented_defaults(section: str, key: str, default: object) -> None:
    """docs/configuration.md has a row for every key, with its default as TOML."""
    written, effect = ROWS[section, key]
    assert tomllib.loads(f"value = {written}")["value"] == default
    assert effect.endswith(".")


def test_documented_options_of_markets() -> None:
    """docs/configuration.md has a row for every key of a market, and for no key that is none."""
    keys = {(name, key) for name, kind in SECTIONS.items() for key in kind.__struct_fields__}
    assert set(ROWS) == keys | {("markets", key) for key in Market.__struct_fields__}
