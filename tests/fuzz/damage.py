"""Strategies of hypothesis: real messages that are damaged, and JSON from their words.

Damage knows the structure (`damaged_trees`) or is blind (`damaged_bytes`).
"""

import re
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.trees import (
    BROKEN_VALUES,
    ODD_VALUES,
    Fields,
    Text,
    copy_tree,
    places_in,
    put,
    read_tree,
    value_at,
    write_tree,
)

DATA_PLACES = 8  # answers have fewer fields


class Seeds:
    """What hypothesis builds from: the real messages of one target, their values and words."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages
        self.trees = [tree for each in self.messages if (tree := read_tree(each)) is not None]
        # Messages of data come three times as often as the many kinds of answers.
        self.trees += 2 * [tree for tree in self.trees if len(places_in(tree)) > DATA_PLACES]
        texts = b" ".join(self.messages).decode()
        self.words = sorted(set(re.findall(r"[\w.@!-]+", texts)))
        self.values = sorted({write_tree(value, is_ascii=False) for value in self._values()})

    def _values(self) -> Iterable[Any]:
        for tree in self.trees:
            for container, position in places_in(tree):
                yield value_at(container, position)


@st.composite
def damaged_trees(draw: st.DrawFn, seeds: Seeds) -> bytes:
    """Real messages whose structure is damaged in up to four places."""
    tree = copy_tree(draw(st.sampled_from(seeds.trees)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 2, 3, 4]))):
        places = places_in(tree)
        if not places:
            break
        container, position = places[draw(st.integers(0, len(places) - 1))]
        damage_place(draw, seeds, container, position)
    text = write_tree(tree, is_ascii=draw(st.booleans()))
    return text.encode("utf-8", "surrogatepass")


def damage_place(draw: st.DrawFn, seeds: Seeds, container: Any, position: int) -> None:
    value = value_at(container, position)
    match draw(st.integers(0, 9)):
        case 0:
            del container[position]
        case 1:
            container.insert(draw(st.integers(0, len(container))), container[position])
        case 2:
            odd = ODD_VALUES if draw(st.integers(0, 4)) else BROKEN_VALUES
            put(container, position, draw(st.sampled_from(odd)))
        case 3:
            put(container, position, Text(draw(st.sampled_from(seeds.values))))
        case 4:
            put(container, position, [value])
        case 5:
            container.reverse()
        case 6 if isinstance(container, Fields):
            container[position] = (draw(st.sampled_from(seeds.words)), value)
        case 7:
            is_number = isinstance(value, Text)
            put(container, position, str(value) if is_number else Text(draw(integers)))
        case _:
            put(container, position, draw(st.text(max_size=6)))


integers = (st.integers() | st.integers(-(2**65), 2**65)).map(str)


@st.composite
def damaged_bytes(draw: st.DrawFn, seeds: Seeds) -> bytes:
    """Real messages that are cut, joined, overwritten or in another encoding."""
    frame = draw(st.sampled_from(seeds.messages))
    match draw(st.integers(0, 6)):
        case 0:
            return frame[: draw(st.integers(0, len(frame)))]
        case 1:
            return frame + draw(st.sampled_from(seeds.messages))
        case 2:
            return draw(st.sampled_from([b"\xef\xbb\xbf", b" ", b"\n", b"\0", b"[", b"{"])) + frame
        case 3:
            other = draw(st.sampled_from(["utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7"]))
            return frame.decode().encode(other, "replace")
        case 4:
            position = draw(st.integers(0, len(frame)))
            return frame[:position] + draw(st.binary(max_size=6)) + frame[position:]
        case 5:
            changed = bytearray(frame)
            for _ in range(draw(st.integers(1, 3))):
                changed[draw(st.integers(0, len(changed) - 1))] ^= 1 << draw(st.integers(0, 7))
            return bytes(changed)
    start = draw(st.integers(0, len(frame)))
    return frame[:start] + frame[draw(st.integers(start, len(frame))) :]


def documents(seeds: Seeds) -> st.SearchStrategy[bytes]:
    """JSON from the words of the exchange."""
    words = st.sampled_from(seeds.words)
    values = st.sampled_from(seeds.values).map(Text) | st.sampled_from(ODD_VALUES) | words
    tree = st.recursive(
        values,
        lambda inner: (
            st.lists(inner, max_size=3) | st.lists(st.tuples(words, inner), max_size=6).map(Fields)
        ),
        max_leaves=8,
    )
    return tree.map(lambda each: write_tree(each, is_ascii=False).encode("utf-8", "replace"))


def messages(seeds: Seeds) -> st.SearchStrategy[bytes]:
    trees, others = damaged_trees(seeds), damaged_bytes(seeds)
    strange = documents(seeds) | st.binary(max_size=60)
    # Named more often: what still looks like a message finds most.
    return st.sampled_from([trees] * 7 + [others] * 2 + [strange]).flatmap(lambda each: each)
