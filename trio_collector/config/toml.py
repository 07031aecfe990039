"""A TOML table read into a struct: all problems at once, each with its place and remedy.

The remedy comes from the struct itself: the choices of a `Literal` or an enumeration, the
`description` of a `Meta`, or the type in plain words. A choice matches in upper and lower case.
"""

import difflib
import enum
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from trio_collector.errors import Problem

# Below a millisecond a task only spins; the upper limit, a year, excludes TOML's `inf`.
Seconds = Annotated[
    float, Meta(ge=0.001, le=31_536_000, description="a number of seconds from 0.001 to 31536000")
]
Name = Annotated[str, Meta(min_length=1, description="a text that is not empty")]

S = TypeVar("S", bound=msgspec.Struct)

_IN_WORDS = {
    bool: "true or false",
    str: "a text",
    int: "a whole number",
    float: "a number",
    tuple: "a list",
}


def read_table(kind: type[S], table: Any, place: str, problems: list[Problem]) -> S | None:
    """Return `table` as a `kind`; None after adding its problems to `problems`."""
    if not isinstance(table, dict):
        problems.append(Problem(place, f"expected a table, got {in_toml(table)}"))
        return None
    found = len(problems)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values = {
        key: _read(fields[key].type, value, f"{place}.{key}", problems)
        for key, value in table.items()
        if key in fields
    }
    problems += [unknown_key(key, fields, f"{place}.{key}") for key in table if key not in fields]
    problems += [
        Problem(f"{place}.{name}", f"missing; expected {_expected(field.type)}")
        for name, field in fields.items()
        if field.required and name not in table
    ]
    return kind(**values) if len(problems) == found else None


def unknown_key(name: str, known: Iterable[str], place: str) -> Problem:
    """Return the problem of a key that is not among the `known` ones."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return Problem(place, f"unknown key {name!r}; {hint}")


def in_toml(value: Any) -> str:
    """Return `value` about as it was written, in one short line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _read(kind: Any, value: Any, place: str, problems: list[Problem]) -> Any:
    """Return `value` as a `kind`; the items of a list are judged one by one."""
    item_kind = _item_kind(kind)
    if item_kind is None or not isinstance(value, list):
        return _read_one(kind, value, place, problems)
    found = len(problems)
    items = [
        _read_one(item_kind, item, f"{place}[{index}]", problems)
        for index, item in enumerate(value)
    ]
    return None if len(problems) > found else _read_one(kind, items, place, problems)


def _read_one(kind: Any, value: Any, place: str, problems: list[Problem]) -> Any:
    choices = _choices(kind)
    if isinstance(value, str) and value.lower() in choices:
        value = value.lower()
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        problems.append(Problem(place, _fault(kind, value, place)))
        return None


def _fault(kind: Any, value: Any, place: str) -> str:
    """Return what is wrong with `value`, and what would be right."""
    choices = _choices(kind)
    if not choices or not isinstance(value, str):
        return f"expected {_expected(kind)}, got {in_toml(value)}"
    close = difflib.get_close_matches(value.lower(), choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {_noun(place)} {in_toml(value)}; choose one of {', '.join(choices)}{hint}"


def _noun(place: str) -> str:
    """Return what the value at `place` is called: `feed` for `markets[2].feeds[0]`."""
    key = place.rpartition(".")[2]
    return key.partition("[")[0].removesuffix("s") if key.endswith("]") else key


def _expected(kind: Any) -> str:
    """Return in words which values are right for `kind`."""
    if choices := _choices(kind):
        return f"one of {', '.join(choices)}"
    for meta in getattr(_known_part(kind), "__metadata__", ()):
        if meta.description:
            return str(meta.description)
    bare = _bare(kind)
    return _IN_WORDS[get_origin(bare) or bare]


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the values of a `Literal` or an enumeration, nothing for any other type."""
    bare = _bare(kind)
    if get_origin(bare) is Literal:
        return tuple(map(str, get_args(bare)))
    if isinstance(bare, type) and issubclass(bare, enum.StrEnum):
        return tuple(member.value for member in bare)
    return ()


def _item_kind(kind: Any) -> Any:
    """Return the type of the items of a tuple type, None for any other type."""
    bare = _bare(kind)
    return get_args(bare)[0] if get_origin(bare) is tuple else None


def _bare(kind: Any) -> Any:
    """Return `kind` without `| None` and without its constraints."""
    part = _known_part(kind)
    return get_args(part)[0] if get_origin(part) is Annotated else part


def _known_part(kind: Any) -> Any:
    """Return `kind` without `| None`."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not types.NoneType)
    return kind
