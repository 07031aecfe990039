"""How long to wait so that no limit of the kind "N within T seconds" is broken.

For each rate the latest `count` slots are remembered, and a new slot lies no earlier than `per_s`
after the `count`-th last one. Any `per_s` seconds then hold at most `count` slots, wherever one
starts to measure. As neither the clock nor the remembered slots go back, no slot lies before an
earlier one: whoever asks first goes first.
"""

from collections import deque
from collections.abc import Sequence

from trio_collector.exchanges.adapter import Rate


class Throttle:
    """Slots under several rates at once; `now` is any clock in seconds that never goes back."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._slots = [(rate, deque[float](maxlen=rate.times)) for rate in rates]

    def reserve(self, now: float) -> float:
        """Book the next slot; return how many seconds to wait for it.

        A slot that is not used stays booked.
        """
        slot = now
        for rate, slots in self._slots:
            if len(slots) == rate.times:
                slot = max(slot, slots[0] + rate.per_s)
        for _rate, slots in self._slots:
            slots.append(slot)
        return slot - now
