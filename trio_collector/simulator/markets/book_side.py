"""One side of a book: its levels from the best price on, always `LEVELS` deep.

Prices and sizes are whole numbers of the market's smallest steps. A bid is kept under its negative
price, so that on both sides a smaller key is a better price and the best is at index 0.
"""

import bisect
import random
from typing import Literal

Level = tuple[int, int]  # price, size; a size of 0 removes the level

# Bybit's orderbook.50 is the deepest view that is still cut. A book of just that depth is seen
# whole by it and by everything deeper, so that one list of changes is right for every exchange.
LEVELS = 50

MAX_GAP = 4  # steps of price between two neighbours, when the book is made
MAX_SIZE = 5_000_000


class BookSide:
    """The levels of one side. Every change is returned as the levels to publish."""

    def __init__(self, sign: Literal[1, -1], best: int, rng: random.Random) -> None:
        self._sign = sign  # 1: asks, -1: bids
        self._rng = rng
        self._keys = [sign * best]
        while len(self._keys) < LEVELS:
            self._keys.append(self._keys[-1] + rng.randint(1, MAX_GAP))
        self._sizes = {key: self._draw_size() for key in self._keys}

    @property
    def best(self) -> int:
        return self._sign * self._keys[0]

    def top(self, depth: int) -> list[Level]:
        """Return the best `depth` levels, best first."""
        return [(self._sign * key, self._sizes[key]) for key in self._keys[:depth]]

    def resize(self) -> list[Level]:
        """Give a level, more often one near the best, a new size."""
        key = self._keys[int(self._rng.random() ** 2 * LEVELS)]
        return [self._set(key, self._draw_size())]

    def improve(self) -> list[Level]:
        """Add a better best price; the worst level goes."""
        return [self._add(self._keys[0] - 1), self._set(self._keys[-1], 0)]

    def retreat(self) -> list[Level]:
        """Take the best level away; a worst one comes."""
        return self._replace(self._keys[0])

    def thin(self) -> list[Level]:
        """Take any level but the best away; a worst one comes."""
        return self._replace(self._rng.choice(self._keys[1:]))

    def thicken(self) -> list[Level]:
        """Add a level behind the best; the worst goes. Nothing changes where one is already."""
        key = self._rng.randint(self._keys[0], self._keys[-1])
        if key in self._sizes:
            return []
        return [self._add(key), self._set(self._keys[-1], 0)]

    def _replace(self, key: int) -> list[Level]:
        return [self._set(key, 0), self._add(self._keys[-1] + self._rng.randint(1, MAX_GAP))]

    def _add(self, key: int) -> Level:
        bisect.insort(self._keys, key)
        return self._set(key, self._draw_size())

    def _set(self, key: int, size: int) -> Level:
        if size:
            self._sizes[key] = size
        else:
            del self._sizes[key]
            self._keys.remove(key)
        return self._sign * key, size

    def _draw_size(self) -> int:
        """Return a size from dust to `MAX_SIZE`, small ones as likely as large ones."""
        return int(MAX_SIZE ** self._rng.random())
