"""Endings in words: close codes, HTTP statuses, and how long an exchange wants to be left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.feed.wire.end_reason import (
    LONGEST_RETRY_AFTER_S,
    EndReason,
    connection_closed,
    parse_retry_after,
    rejected_handshake,
)

# 2026-11-22 12:00:00 UTC
NOW_S = 1_795_348_800.0


@pytest.mark.parametrize(
    ("code", "words", "reason", "detail", "kept"),
    [
        (1000, None, EndReason.CLOSE_FRAME, "1000", 1000),
        (1001, "going away", EndReason.CLOSE_FRAME, "1001 going away", 1001),
        (4004, "no data", EndReason.CLOSE_FRAME, "4004 no data", 4004),
        (1002, "bad opcode", EndReason.PROTOCOL_ERROR, "1002 bad opcode", 1002),
        (1009, "too big", EndReason.PROTOCOL_ERROR, "1009 too big", 1009),
        (1006, None, EndReason.STREAM_ENDED, "the connection broke", None),
        (1006, "reset", EndReason.STREAM_ENDED, "reset", None),
    ],
)
def test_close_codes(
    code: int, words: str | None, reason: str, detail: str, kept: int | None
) -> None:
    """A goodbye keeps its code and words; 1006 is none that was ever sent."""
    ending = connection_closed(code, words)
    assert (ending.reason, ending.detail, ending.code) == (reason, detail, kept)


def test_a_blocked_country_is_told_where_to_try() -> None:
    """451 and 403 say what they mean, and name the base_url that may work."""
    for status, words in ((451, "not served in this country"), (403, "blocked, by country")):
        ending = rejected_handshake(status, [], now_s=NOW_S, fallback_url="wss://other.test")
        assert ending.reason == EndReason.REJECTED_HANDSHAKE
        assert ending.code == status
        assert words in ending.detail
        assert "base_url = 'wss://other.test'" in ending.detail


def test_other_refusals_name_no_other_url() -> None:
    """Where the place is not the problem no other address is suggested."""
    ending = rejected_handshake(503, [], now_s=NOW_S, fallback_url="wss://other.test")
    assert ending.detail == "HTTP 503: the exchange is unavailable"
    unknown = rejected_handshake(520, [], now_s=NOW_S)
    assert unknown.detail == "HTTP 520: the handshake was refused"


def test_a_redirect_is_not_followed_but_told() -> None:
    """The address that a redirect names is in the detail, for a person to judge."""
    ending = rejected_handshake(301, [(b"Location", b"wss://new.test/ws")], now_s=NOW_S)
    assert "set base_url" in ending.detail
    assert "'wss://new.test/ws'" in ending.detail


@pytest.mark.parametrize("name", [b"Retry-After", b"retry-after"])
def test_too_many_requests(name: bytes) -> None:
    """429 carries what the exchange asked for, however the header is spelled."""
    ending = rejected_handshake(429, [(name, b"17")], now_s=NOW_S)
    assert ending.retry_after_s == 17
    assert rejected_handshake(429, [], now_s=NOW_S).retry_after_s is None


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (b"0", 0),
        (b" 120 ", 120),
        (b"Sun, 22 Nov 2026 12:01:30 GMT", 90),
        (b"Sun, 22 Nov 2026 11:00:00 GMT", 0),  # in the past
        (b"259201", LONGEST_RETRY_AFTER_S),
        (b"9" * 400, LONGEST_RETRY_AFTER_S),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER_S),
        (b"", None),
        (b"soon", None),
        (b"-5", None),
        (b"\xb2", None),  # a superscript two is a digit and no number
        (b"Mon, 06 Nov 99999999999999999999 08:49:37 GMT", None),
        (b"6 Nov 1994 08:49:37 +9999", None),
    ],
)
def test_retry_after(value: bytes, wait_s: float | None) -> None:
    """Seconds and dates are read, capped at the longest ban there is; nonsense is no wish."""
    assert parse_retry_after(value, NOW_S) == wait_s


_WORDS = st.sampled_from(
    [b"Mon,", b"06", b"Nov", b"1994", b"08:49:37", b"GMT", b"-0000", b"+9999", b"9" * 20, b"-1"]
)


@given(st.binary(max_size=40) | st.lists(_WORDS, max_size=8).map(b" ".join))
def test_any_retry_after_is_read(value: bytes) -> None:
    """Whatever an exchange writes there, it is a wait within bounds or none."""
    wait_s = parse_retry_after(value, NOW_S)
    assert wait_s is None or 0 <= wait_s <= LONGEST_RETRY_AFTER_S
