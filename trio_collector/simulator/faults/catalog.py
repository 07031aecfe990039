"""All kinds of faults: their stage, their parameters, and what a client sees.

The table in docs/simulator.md says the same; a test compares the two.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from trio_collector.simulator.faults.fault import Kind


class Stage(enum.Enum):
    """What a fault applies to; it decides who injects it, and what is known by then."""

    ACCEPT = "a connect, before the first byte"
    HANDSHAKE = "a connect, when its request is read"
    REST = "a REST request"
    CONNECTION = "a connection"
    MESSAGE = "a message of data"
    EXCHANGE = "an exchange"


class Traits(NamedTuple):
    """One kind; `parameters` beside the conditions of its stage, `text` is what a client sees."""

    stage: Stage
    parameters: tuple[str, ...]
    text: str


_WHERE = ("exchange",)
_PATH = ("path",)
_STREAM = ("symbol", "data_type")
_REPEAT = ("every_s", "times")
_LINE = (*_WHERE, *_PATH, "connection", "after_s", "after_messages", "at_s", "rate", *_REPEAT)
_CONNECT = (*_WHERE, "connection", "at_s", "rate", *_REPEAT, "for_s")

# Where and when: the fields of faults of a stage, in addition to the parameters of their kind.
CONDITIONS: Mapping[Stage, tuple[str, ...]] = MappingProxyType(
    {
        Stage.ACCEPT: _CONNECT,
        Stage.HANDSHAKE: (*_CONNECT, *_PATH),
        Stage.REST: (*_WHERE, "at_s", "rate", *_REPEAT, "for_s"),
        Stage.CONNECTION: _LINE,
        Stage.MESSAGE: (*_LINE, *_STREAM),
        Stage.EXCHANGE: (*_WHERE, "at_s", *_REPEAT),
    }
)

_RETRY = ("retry_after_s", "is_retry_date")
_CORRUPTED = ("is_extra",)


def _accept(text: str, *parameters: str) -> Traits:
    return Traits(Stage.ACCEPT, parameters, text)


def _handshake(text: str, *parameters: str) -> Traits:
    return Traits(Stage.HANDSHAKE, parameters, text)


def _rest(text: str, *parameters: str) -> Traits:
    return Traits(Stage.REST, parameters, text)


def _connection(text: str, *parameters: str) -> Traits:
    return Traits(Stage.CONNECTION, parameters, text)


def _message(text: str, *parameters: str) -> Traits:
    return Traits(Stage.MESSAGE, parameters, text)


def _exchange(text: str, *parameters: str) -> Traits:
    return Traits(Stage.EXCHANGE, parameters, text)


_CATALOG = {
    Kind.REFUSED: _accept("RST as soon as the connection is accepted"),
    Kind.PLAINTEXT: _accept("answers a TLS client in plain text (needs TLS)"),
    Kind.TLS_WRONG_HOST: _accept("a certificate for another host (needs TLS)"),
    Kind.TLS_EXPIRED: _accept("a certificate that ended yesterday (needs TLS)"),
    Kind.TLS_UNTRUSTED: _accept("a certificate of an unknown authority (needs TLS)"),
    Kind.HANDSHAKE_SILENT: _handshake("the request is read and never answered"),
    Kind.HANDSHAKE_SLOW: _handshake("the 101 comes byte by byte", "drip_s"),
    Kind.HANDSHAKE_CLOSED: _handshake("FIN instead of an answer"),
    Kind.HANDSHAKE_GARBAGE: _handshake("an answer that is not HTTP"),
    Kind.WRONG_ACCEPT: _handshake("101 with the Sec-WebSocket-Accept of another key"),
    Kind.STATUS_301: _handshake("301 to another host"),
    Kind.STATUS_403: _handshake("403, as a firewall or a geo-block answers", *_RETRY),
    Kind.STATUS_418: _handshake("418, as an exchange answers whom it has banned", *_RETRY),
    Kind.STATUS_429: _handshake("429, too many requests", *_RETRY),
    Kind.STATUS_451: _handshake("451, not in this country"),
    Kind.STATUS_503: _handshake("503, as in maintenance", *_RETRY),
    Kind.IP_BAN: _handshake(
        "`status` for every connect, REST too; Retry-After says what is left of `for_s`",
        "status",
        "is_retry_date",
    ),
    Kind.REST_STATUS: _rest("`status` instead of a depth snapshot", "status", *_RETRY),
    Kind.REST_WEIGHT: _rest("429 to a client that spends more than `weight` in a minute", "weight"),
    Kind.REST_GARBAGE: _rest("200 and a body that is no JSON"),
    Kind.REST_CUT: _rest("the connection ends in the middle of the body"),
    Kind.REST_SILENT: _rest("no answer, ever"),
    Kind.REST_LAG: _rest("the snapshot is taken at once and sent `delay_s` later", "delay_s"),
    Kind.REST_STALE: _rest("a snapshot from the simulator's start, older than any diff"),
    Kind.RESET: _connection("RST"),
    Kind.FIN: _connection("FIN without a close frame (the client's 1006)"),
    Kind.HALF_OPEN: _connection("nothing is sent any more, not even FIN; the socket stays open"),
    Kind.STALL: _connection("nothing is sent for `for_s`, then all of it", "for_s"),
    Kind.STALL_MID_FRAME: _message("half a frame, nothing for `for_s`, then the rest", "for_s"),
    Kind.DRIP: _message("the frame comes byte by byte", "drip_s"),
    Kind.LATE_FEED: _connection("everything comes `delay_s` late, for `for_s`", "delay_s", "for_s"),
    Kind.OVERSIZE: _connection("a text message of `size_bytes`", "size_bytes"),
    Kind.CLOSE_1000: _connection("close frame 1000", "reason"),
    Kind.CLOSE_1001: _connection("close frame 1001, going away", "reason"),
    Kind.CLOSE_1005: _connection("close frame without a code"),
    Kind.CLOSE_1008: _connection("close frame 1008, policy", "reason"),
    Kind.CLOSE_1011: _connection("close frame 1011, internal error", "reason"),
    Kind.CLOSE_1012: _connection("close frame 1012, restart", "reason"),
    Kind.CLOSE_1013: _connection("close frame 1013, try again later", "reason"),
    Kind.CLOSE_4000: _connection("close frame `code`, from 4000", "code", "reason"),
    Kind.DAY_CUT: _connection("close frame 1001 at an age of `after_s`, 24 h by default"),
    Kind.NOTICE: _connection(
        "Binance's serverShutdown or OKX's 64008, and `lead_s` later close frame 1001", "lead_s"
    ),
    Kind.RESERVED_OPCODE: _connection("a frame with opcode 3"),
    Kind.RESERVED_CONTROL_OPCODE: _connection("a frame with opcode 11"),
    Kind.RSV1: _connection("a frame with RSV1, as if compressed"),
    Kind.RSV2: _connection("a frame with RSV2"),
    Kind.RSV3: _connection("a frame with RSV3"),
    Kind.MASKED_FRAME: _connection("a masked frame"),
    Kind.FRAGMENTED_PING: _connection("a ping without FIN"),
    Kind.LONG_PING: _connection("a ping of 126 bytes"),
    Kind.LONE_CONTINUATION: _connection("a continuation of nothing"),
    Kind.INTERRUPTED_MESSAGE: _connection("a new message inside of a fragmented one"),
    Kind.LENGTH_16_NOT_SHORTEST: _connection("a length of 5 in two bytes"),
    Kind.LENGTH_64_NOT_SHORTEST: _connection("a length of 200 in eight bytes"),
    Kind.LENGTH_64_SIGNED: _connection("a length of 2^63"),
    Kind.TEXT_NOT_UTF8: _connection("a text frame that is not UTF-8"),
    Kind.TEXT_CUT_UTF8: _connection("a text message that ends within a character"),
    Kind.FRAGMENTS_NOT_UTF8: _connection("a fragmented text whose second part is not UTF-8"),
    Kind.CLOSE_ONE_BYTE: _connection("a close frame with half a code"),
    Kind.CLOSE_CODE_LOW: _connection("close frame 999"),
    Kind.CLOSE_CODE_HIGH: _connection("close frame 5000"),
    Kind.CLOSE_CODE_LOCAL: _connection("close frame 1006, which may not be sent"),
    Kind.CLOSE_CODE_RESERVED: _connection("close frame 2999, which is not defined"),
    Kind.CLOSE_REASON_NOT_UTF8: _connection("close frame 1000 with a reason that is not UTF-8"),
    Kind.GARBAGE_TEXT: _message("text that is no JSON", *_CORRUPTED),
    Kind.TRUNCATED_JSON: _message("the first half of the message", *_CORRUPTED),
    Kind.WRONG_TYPES: _message("each value has another JSON type", *_CORRUPTED),
    Kind.DEEP_NESTING: _message("objects in objects, 10,000 deep", *_CORRUPTED),
    Kind.NOT_UTF8: _message("the message as a binary frame that is not UTF-8", *_CORRUPTED),
    Kind.EMPTY_MESSAGE: _message("a frame without payload", *_CORRUPTED),
    Kind.NULL_MESSAGE: _message("`null`", *_CORRUPTED),
    Kind.HUGE_NUMBERS: _message("numbers of 400 digits", *_CORRUPTED),
    Kind.EXTRA_FIELDS: _message("the message with an unknown field"),
    Kind.UNKNOWN_TYPE: _connection("a message of a type that was not subscribed"),
    Kind.FRAGMENTED: _message("the frame in `fragments`, a ping between them", "fragments"),
    Kind.LOST: _message("the message is not sent; the exchange's ids go on"),
    Kind.DUPLICATE: _message("the message comes twice"),
    Kind.REPEATED: _message("the last `repeats` messages come again after it", "repeats"),
    Kind.REORDERED: _message("`behind` later messages overtake it", "behind"),
    Kind.ACK_REFUSED: _connection("subscriptions are refused", *_STREAM, "for_s"),
    Kind.ACK_SILENT: _connection("subscriptions are granted and stay silent", *_STREAM, "for_s"),
    Kind.NO_ACK: _connection("subscriptions are not acked; data comes", "for_s"),
    Kind.LATE_ACK: _connection("acks come `delay_s` late, after data", "delay_s", "for_s"),
    Kind.NO_TEXT_PONG: _connection("pings in text or JSON are not answered", "for_s"),
    Kind.NO_FRAME_PONG: _connection("ping frames are not answered", "for_s"),
    Kind.PING_FLOOD: _connection("`pings` ping frames at once", "pings"),
    Kind.SILENT_FEED: _connection(
        "data stops; acks, heartbeats and pongs go on", *_STREAM, "for_s"
    ),
    Kind.VENUE_DOWN: _exchange("RST for all connections, and nobody listens for `for_s`", "for_s"),
    Kind.LISTENER_CLOSED: _exchange("nobody listens for `for_s`; connections go on", "for_s"),
    Kind.CLOCK_JUMP: _exchange(
        "the times in messages are `shift_s` off, for `for_s`", "shift_s", "for_s"
    ),
}
CATALOG: Mapping[Kind, Traits] = MappingProxyType(_CATALOG)

NEED_TLS = frozenset({Kind.PLAINTEXT, Kind.TLS_WRONG_HOST, Kind.TLS_EXPIRED, Kind.TLS_UNTRUSTED})
DAY_S = 86_400.0


def fields_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of all fields that a fault of `kind` may set."""
    traits = CATALOG[kind]
    return ("kind", *CONDITIONS[traits.stage], *traits.parameters)
