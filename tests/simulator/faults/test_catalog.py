"""The catalog, its table in the documents, and the tests that show each kind."""

from pathlib import Path

import msgspec

from trio_collector.simulator.faults.catalog import CATALOG, CONDITIONS, fields_of
from trio_collector.simulator.faults.corruption import CORRUPTIONS
from trio_collector.simulator.faults.fault import Fault, Kind
from trio_collector.simulator.faults.malformed import MALFORMED

ROOT = Path(__file__).resolve().parents[3]
TESTS = Path(__file__).parent


def test_the_table_is_the_catalog() -> None:
    """docs/simulator.md names each kind once, with what it applies to, its parameters and its text."""
    text = (ROOT / "docs" / "simulator.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 5]
    assert rows == [
        f"| `{kind}` | {traits.stage.value} | {', '.join(f'`{each}`' for each in traits.parameters)}"
        f" | {traits.text} |".replace("|  |", "| |")
        for kind, traits in CATALOG.items()
    ]


def test_the_documents_tell_all_conditions() -> None:
    """Where and when: each has its place in docs/simulator.md, and so has each default."""
    text = (ROOT / "docs" / "simulator.md").read_text()
    names = {name for stage in CONDITIONS.values() for name in stage}
    assert all(f"`{name}`" in text for name in names)
    for field in msgspec.structs.fields(Fault):
        if not field.required and field.default not in (None, False, ""):
            assert f"`{field.name}` {field.default}" in text


def test_every_kind_is_in_the_catalog_and_uses_fields_that_exist() -> None:
    """A kind uses only fields that a fault has."""
    assert list(CATALOG) == list(Kind)
    known = {field.name for field in msgspec.structs.fields(Fault)}
    assert all(set(fields_of(kind)) <= known for kind in Kind)


def test_every_kind_is_shown_on_the_wire() -> None:
    """Each kind is named in a test of this folder that has a client."""
    shown = "".join(
        path.read_text() for path in TESTS.glob("test_*.py") if "client" in path.read_text()
    )
    tables = {*CORRUPTIONS, *MALFORMED}
    missing = [kind for kind in Kind if f"Kind.{kind.name}" not in shown and kind not in tables]
    assert missing == []
