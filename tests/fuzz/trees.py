"""JSON as trees in which a field may come twice, and a number may be anything."""

import json
from typing import Any


class Fields(list[tuple[str, Any]]):
    """An object, as the list of its fields."""


class Text(str):
    """A value as it is to be written; real texts are plain `str`."""

    __slots__ = ()


# JSON, though not what is expected anywhere.
ODD = r"""
    true false null -0 -1 0 1.5 1e3 1e400 -1e400 {} [] [[]] {"a":1,"a":2}
    "" "0" "-1" "1e5" "NaN" "~" "../../x" "\u0000" "\u202e" "\ud83d\ude00"
    "9999-12-31T23:59:59Z" "0001-01-01T00:00:00Z" "1970-01-01T00:00:00-23:59"
"""
NUMBERS = (2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, "9" * 400, "1" * 5000)
ODD_VALUES = [
    *map(Text, ODD.split()),
    *(Text(number) for number in NUMBERS),
    Text("[" * 500 + "]" * 500),
    Text('{"a":' * 500 + "1" + "}" * 500),
    Text(json.dumps("x" * 5_000)),
    Text(json.dumps("ẞ币😀" * 200, ensure_ascii=False)),
]
# What is no JSON, or deeper than any reader goes.
BROKEN = r"""
    NaN Infinity -Infinity 00 +1 0x10 .5 5. 'a' tru "\x" "\ud800" "\udc00\ud800"
"""
BROKEN_VALUES = [
    *map(Text, BROKEN.split()),
    Text('"\t"'),
    Text("[" * 3_000 + "]" * 3_000),
    Text("[" * 40_000),
    Text('{"a":' * 3_000),
]


def read_tree(message: bytes) -> Any:
    """Return `message` as a tree; None where it is no JSON."""
    try:
        return json.loads(message, object_pairs_hook=Fields, parse_float=Text, parse_int=Text)
    except ValueError:
        return None


def write_tree(tree: Any, *, is_ascii: bool) -> str:
    if isinstance(tree, Text):
        return str(tree)
    if isinstance(tree, Fields):
        fields = (f"{json.dumps(key)}:{write_tree(item, is_ascii=is_ascii)}" for key, item in tree)
        return "{" + ",".join(fields) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(write_tree(item, is_ascii=is_ascii) for item in tree) + "]"
    return json.dumps(tree, ensure_ascii=is_ascii)


def copy_tree(tree: Any) -> Any:
    if isinstance(tree, Fields):
        return Fields((key, copy_tree(item)) for key, item in tree)
    return [copy_tree(item) for item in tree] if isinstance(tree, list) else tree


def places_in(tree: Any) -> list[tuple[Any, int]]:
    """Return each container in `tree` with each of its positions."""
    if not isinstance(tree, list):
        return []
    found = []
    for position, entry in enumerate(tree):
        found.append((tree, position))
        found += places_in(entry[1] if isinstance(tree, Fields) else entry)
    return found


def put(container: Any, position: int, value: Any) -> None:
    is_object = isinstance(container, Fields)
    container[position] = (container[position][0], value) if is_object else value


def value_at(container: Any, position: int) -> Any:
    entry = container[position]
    return entry[1] if isinstance(container, Fields) else entry
