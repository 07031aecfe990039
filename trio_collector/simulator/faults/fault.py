"""A fault as data.

It says what goes wrong (`kind`), where, when, and with what parameters; in a table of a TOML file, or
as arguments::

    [[faults]]
    kind = "close_1011"
    exchange = "okx"
    connection = 2          # its second WebSocket connection
    after_messages = 100

    Fault(kind=Kind.CLOSE_1011, exchange="okx", connection=2, after_messages=100)

The catalog says which parameters a kind takes, and what it does.
"""

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trio_collector.config.toml import Name, Seconds

Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Rate = Annotated[float, Meta(gt=0, le=1, description="a number above 0, up to 1")]
CloseCode = Annotated[int, Meta(ge=4000, le=4999, description="a close code from 4000 to 4999")]
Status = Annotated[int, Meta(ge=400, le=599, description="an HTTP status from 400 to 599")]
Bytes = Annotated[int, Meta(ge=1, description="a whole number of bytes from 1")]
# A clock may jump forwards or back, by a year at most.
Shift = Annotated[
    float,
    Meta(ge=-31_536_000, le=31_536_000, description="a number of seconds within a year"),
]
Seed = Annotated[int, Meta(description="a whole number")]


class Kind(enum.StrEnum):
    """The names of all faults, in the order of a connection's life."""

    REFUSED = "refused"
    PLAINTEXT = "plaintext"
    TLS_WRONG_HOST = "tls_wrong_host"
    TLS_EXPIRED = "tls_expired"
    TLS_UNTRUSTED = "tls_untrusted"

    HANDSHAKE_SILENT = "handshake_silent"
    HANDSHAKE_SLOW = "handshake_slow"
    HANDSHAKE_CLOSED = "handshake_closed"
    HANDSHAKE_GARBAGE = "handshake_garbage"
    WRONG_ACCEPT = "wrong_accept"
    STATUS_301 = "status_301"
    STATUS_403 = "status_403"
    STATUS_418 = "status_418"
    STATUS_429 = "status_429"
    STATUS_451 = "status_451"
    STATUS_503 = "status_503"
    IP_BAN = "ip_ban"

    REST_STATUS = "rest_status"
    REST_WEIGHT = "rest_weight"
    REST_GARBAGE = "rest_garbage"
    REST_CUT = "rest_cut"
    REST_SILENT = "rest_silent"
    REST_LAG = "rest_lag"
    REST_STALE = "rest_stale"

    RESET = "reset"
    FIN = "fin"
    HALF_OPEN = "half_open"
    STALL = "stall"
    STALL_MID_FRAME = "stall_mid_frame"
    DRIP = "drip"
    LATE_FEED = "late_feed"
    OVERSIZE = "oversize"

    CLOSE_1000 = "close_1000"
    CLOSE_1001 = "close_1001"
    CLOSE_1005 = "close_1005"
    CLOSE_1008 = "close_1008"
    CLOSE_1011 = "close_1011"
    CLOSE_1012 = "close_1012"
    CLOSE_1013 = "close_1013"
    CLOSE_4000 = "close_4000"
    DAY_CUT = "day_cut"
    NOTICE = "notice"

    RESERVED_OPCODE = "reserved_opcode"
    RESERVED_CONTROL_OPCODE = "reserved_control_opcode"
    RSV1 = "rsv1"
    RSV2 = "rsv2"
    RSV3 = "rsv3"
    MASKED_FRAME = "masked_frame"
    FRAGMENTED_PING = "fragmented_ping"
    LONG_PING = "long_ping"
    LONE_CONTINUATION = "lone_continuation"
    INTERRUPTED_MESSAGE = "interrupted_message"
    LENGTH_16_NOT_SHORTEST = "length_16_not_shortest"
    LENGTH_64_NOT_SHORTEST = "length_64_not_shortest"
    LENGTH_64_SIGNED = "length_64_signed"
    TEXT_NOT_UTF8 = "text_not_utf8"
    TEXT_CUT_UTF8 = "text_cut_utf8"
    FRAGMENTS_NOT_UTF8 = "fragments_not_utf8"
    CLOSE_ONE_BYTE = "close_one_byte"
    CLOSE_CODE_LOW = "close_code_low"
    CLOSE_CODE_HIGH = "close_code_high"
    CLOSE_CODE_LOCAL = "close_code_local"
    CLOSE_CODE_RESERVED = "close_code_reserved"
    CLOSE_REASON_NOT_UTF8 = "close_reason_not_utf8"

    GARBAGE_TEXT = "garbage_text"
    TRUNCATED_JSON = "truncated_json"
    WRONG_TYPES = "wrong_types"
    DEEP_NESTING = "deep_nesting"
    NOT_UTF8 = "not_utf8"
    EMPTY_MESSAGE = "empty_message"
    NULL_MESSAGE = "null_message"
    HUGE_NUMBERS = "huge_numbers"
    EXTRA_FIELDS = "extra_fields"
    UNKNOWN_TYPE = "unknown_type"
    FRAGMENTED = "fragmented"
    LOST = "lost"
    DUPLICATE = "duplicate"
    REPEATED = "repeated"
    REORDERED = "reordered"

    ACK_REFUSED = "ack_refused"
    ACK_SILENT = "ack_silent"
    NO_ACK = "no_ack"
    LATE_ACK = "late_ack"
    NO_TEXT_PONG = "no_text_pong"
    NO_FRAME_PONG = "no_frame_pong"
    PING_FLOOD = "ping_flood"
    SILENT_FEED = "silent_feed"

    VENUE_DOWN = "venue_down"
    LISTENER_CLOSED = "listener_closed"
    CLOCK_JUMP = "clock_jump"


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault; without a place it is everywhere, without a time at once.

    Times in seconds: `after_s` counts from a connection's handshake, `at_s` from the simulator's
    start, and concerns the connections that are open at that moment.
    """

    kind: Kind

    exchange: Literal["binance", "coinbase", "upbit", "okx", "bybit"] | None = None
    path: Name | None = None  # as in a URL, such as /bybit/v5/public/linear
    connection: Count | None = None  # the n-th of the exchange; all, if not given
    symbol: Name | None = None  # as the record spells it: btcusdt, btcusdt.linear
    data_type: Literal["orderbook", "trade"] | None = None

    after_s: Seconds | None = None
    after_messages: Count | None = None  # of data, on the connection
    at_s: Seconds | None = None
    every_s: Seconds | None = None  # again, as long as the connection lives
    rate: Rate | None = None  # probability for each message of data, or each connect or request
    times: Count | None = None  # at most so often, over all connections

    for_s: Seconds | None = None  # how long; to the end, if not given
    retry_after_s: Seconds | None = None  # no such header, if not given
    is_retry_date: bool = False  # the header has a date instead of seconds
    status: Status = 429
    code: CloseCode = 4000
    reason: str = ""
    delay_s: Seconds = 1.0
    lead_s: Seconds = 2.0  # from a notice to the cut
    drip_s: Seconds = 0.01  # between two bytes
    shift_s: Shift = 3600.0
    pings: Count = 200
    repeats: Count = 5  # messages that come again
    behind: Count = 1  # messages that overtake one
    fragments: Count = 3
    size_bytes: Bytes = 17 * 2**20  # above the collector's max_message_bytes of 16 MiB
    weight: Count = 6_000  # of requests in a minute
    is_extra: bool = False  # in addition to a message of data, not instead of it


class InjectedFault(msgspec.Struct, frozen=True):
    """A fault that was injected: `connection` is its number in the record, 0 without one."""

    at_s: float
    kind: Kind
    exchange: str
    connection: int = 0
