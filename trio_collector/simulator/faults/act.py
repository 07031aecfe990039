"""What an outbox can be told to do beside sending frames, in its place among them."""

import enum
from typing import NamedTuple

from trio_collector.simulator.net.frames import Frame


class Deed(enum.Enum):
    """One thing to do."""

    SEND = "send raw bytes"
    WAIT = "send nothing for a time"
    DRIP = "send byte by byte from here on; 0 s ends it"
    SWALLOW = "send nothing from here on, and keep the socket"
    RESET = "RST"
    FIN = "FIN"


class Act(NamedTuple):
    """A deed; `payload` are raw bytes, of which the record knows nothing."""

    deed: Deed
    seconds: float = 0.0
    payload: bytes = b""


Item = Frame | Act
