"""Any table is read into a struct, or every problem is reported."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from trio_collector.config.toml import in_toml, read_table
from trio_collector.errors import Problem
from trio_collector.events import FeedType


class Example(msgspec.Struct, forbid_unknown_fields=True):
    """A struct with every kind of field that a configuration has."""

    name: str
    count: Annotated[int, Meta(ge=1, description="a whole number from 1")] = 1
    share: float | None = None
    is_on: bool = False
    size: Literal[1, 5] | None = None
    mode: Literal["slow", "fast"] = "slow"
    feeds: tuple[FeedType, ...] = ()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(Example.__struct_fields__) | st.text()


@given(st.dictionaries(keys, values) | values)
def test_a_struct_or_problems(table: Any) -> None:
    """Whatever the table holds, the result is a struct, or at least one problem with a place."""
    problems: list[Problem] = []
    read = read_table(Example, table, "example", problems)
    assert (read is None) == bool(problems)
    assert all(problem.place.startswith("example") and problem.text for problem in problems)


def test_choices_in_any_case() -> None:
    """A choice is matched in any case of letters, alone or in a list."""
    read = read_table(Example, {"name": "x", "mode": "FAST", "feeds": ["Trades"]}, "e", [])
    assert read == Example(name="x", mode="fast", feeds=(FeedType.TRADES,))


def test_plain_types_in_words() -> None:
    """A type that has no description is named in plain words."""
    problems: list[Problem] = []
    read_table(Example, {"share": "much", "is_on": 1, "size": 2, "count": 0}, "e", problems)
    assert [str(problem) for problem in problems] == [
        "e.share: expected a number, got 'much'",
        "e.is_on: expected true or false, got 1",
        "e.size: expected one of 1, 5, got 2",
        "e.count: expected a whole number from 1, got 0",
        "e.name: missing; expected a text",
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "true"),
        (1.5, "1.5"),
        ("a'b", '"a\'b"'),
        ({}, "a table"),
        ([], "an empty list"),
        ([1], "a list"),
        ("x" * 200, "'" + "x" * 75 + " ..."),
    ],
)
def test_values_as_they_were_written(value: Any, written: str) -> None:
    """A message shows a value about as it stands in the file, and never at length."""
    assert in_toml(value) == written
