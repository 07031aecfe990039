"""What an outbox does beside sending frames, at its place in the queue."""

import enum
from typing import NamedTuple

from trio_collector.simulator.net.frames import Frame


class ActionKind(enum.Enum):
    """One thing to do."""

    SEND = "send raw bytes"
    WAIT = "send nothing for a time"
    DRIP = "send byte by byte from here on; 0 s ends it"
    DISCARD = "send nothing from here on, and keep the socket"
    RESET = "RST"
    FIN = "FIN"


class Action(NamedTuple):
    """An action; `payload` are raw bytes, which the record does not contain."""

    kind: ActionKind
    seconds: float = 0.0
    payload: bytes = b""


Item = Frame | Action
