"""Compares splitter and wsproto on random connections, for as long as one likes.

    python -m tests.fuzz.fuzz_frames --seconds 60 --seed 1

A connection is a run of frames, some of them odd, some with flipped bytes, in random pieces. The
first one that reads differently is printed with its seed, and the exit code is 1. The reference is
that of tests/support/frames.py.
"""

import argparse
import collections
import random
import sys
import time
from typing import Any

from tests.support.frames import cut, read_with_splitter, read_with_wsproto, server_frame

SIZES = (0, 1, 5, 125, 126, 127, 300, 65_535, 65_536)


def build_payload(dice: random.Random) -> bytes:
    size = dice.choice(SIZES[:7] if dice.random() < 0.97 else SIZES)
    match dice.randrange(4):
        case 0:
            return dice.randbytes(size)
        case 1:
            return ("é€😀" * size).encode()[:size]
    return b"x" * size


def build_connection(dice: random.Random) -> bytes:
    """Return the bytes of some frames, most of them sound."""
    frames = []
    for _ in range(dice.randrange(1, 12)):
        opcode = dice.choice((0, 0, 0, 1, 1, 1, 2, 2, 8, 9, 10, dice.randrange(16)))
        payload = build_payload(dice)[: 125 if opcode > 7 else None]
        odd: dict[str, Any] = {"is_final": opcode > 7 or dice.random() < 0.5}
        if dice.random() < 0.05:
            name, value = dice.choice((("rsv", 2), ("is_masked", True), ("length_form", 127)))
            odd[name] = value
        frames.append(server_frame(payload, opcode, **odd))
    data = bytearray(b"".join(frames))
    if dice.random() < 0.2:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def compare(seed: int) -> tuple[str, str]:
    """Return how one connection ended, and in what it reads differently; empty if in nothing."""
    dice = random.Random(seed)
    data, limit = build_connection(dice), dice.choice((1 << 20, 300, 125, 20))
    pieces = cut(data, [dice.choice((1, 2, 3, 50, 1000)) for _ in range(5)])
    expected = read_with_wsproto([data], limit)
    whole, in_pieces = read_with_splitter([data], limit), read_with_splitter(pieces, limit)
    ending = str(expected.code)
    if whole != in_pieces:
        return ending, f"whole {whole}, in pieces {in_pieces}"
    if whole.code == 1009 and whole != expected:
        # Over the limit. wsproto may meet bad text first, and does not count the up to three bytes
        # of a character that is not whole, so that it may read on to the next frame.
        if read_with_wsproto([data], limit - 3).code not in (1007, 1009):
            return ending, f"not over the limit of {limit}: {data!r}"
        expected = expected._replace(code=1009, pings=whole.pings, pongs=whole.pongs)
    if whole.code is None and expected.code == 1007:
        # Bad text in a frame that is not whole is found when it is, or when it passes the limit.
        completed = read_with_splitter([data, bytes(limit)], limit)
        expected = expected._replace(code=None if completed.code in (1007, 1009) else 1007)
    return ending, "" if whole == expected else f"wsproto {expected}, splitter {whole}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    endings: collections.Counter[str] = collections.Counter()
    seed, end = options.seed, time.monotonic() + options.seconds
    while time.monotonic() < end:
        ending, difference = compare(seed)
        if difference:
            sys.stdout.write(f"seed {seed}: {difference}\n")
            return 1
        endings[ending] += 1
        seed += 1
    sys.stdout.write(f"{seed - options.seed} connections alike; endings {dict(endings)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
