"""Faults between a client and a bucket, as a script: pure data, and dice with a seed.

A fault applies to one request. With some of them nothing has been done; others come after the request
was executed (`is_afterwards`), so that bucket and client disagree.
"""

import enum
import math
import random
from collections import deque

import msgspec

from tests.support.bucket.request.operation import Operation


class Fault(enum.StrEnum):
    """One thing that goes wrong."""

    CLOSED = "closed"  # the connection ends when the head has come
    CUT_BODY = "cut_body"  # the connection ends in the middle of the body
    RESET = "reset"  # the same, by an RST
    STALLED_BODY = "stalled_body"  # the bucket stops reading in the middle, for ever
    ERROR_BEFORE = "error_before"  # 500
    SLOW_DOWN = "slow_down"  # 503 with Retry-After
    CONFLICT = "conflict"  # 409: somebody else is writing this key
    EXPIRED_TOKEN = "expired_token"  # 403, although the token is good
    SKEWED = "skewed"  # 403: the bucket's clock went wrong
    NOT_FOUND_YET = "not_found_yet"  # HEAD answers 404 for what is there
    ERROR_IN_200 = "error_in_200"  # CompleteMultipartUpload: status 200, and the body is an error

    ERROR_AFTER = "error_after"  # 500
    LOST_REPLY = "lost_reply"  # the connection ends instead of an answer
    CUT_REPLY = "cut_reply"  # the connection ends in the middle of the answer
    STALLED_REPLY = "stalled_reply"  # nothing comes, ever
    DRIP = "drip"  # the answer comes byte by byte
    TRUNCATED_XML = "truncated_xml"  # half of a document; a 500 where there is none
    FALSE_CHECKSUM = "false_checksum"  # PUT and HEAD name another x-amz-checksum-sha256
    FALSE_ETAG = "false_etag"
    FALSE_SIZE = "false_size"  # HEAD names another length

    CORRUPTED = "corrupted"  # one byte is stored wrong; not among the usual ones


_AFTERWARDS = frozenset(
    {
        Fault.ERROR_AFTER,
        Fault.LOST_REPLY,
        Fault.CUT_REPLY,
        Fault.STALLED_REPLY,
        Fault.DRIP,
        Fault.TRUNCATED_XML,
        Fault.FALSE_CHECKSUM,
        Fault.FALSE_ETAG,
        Fault.FALSE_SIZE,
    }
)
# What a network and a bucket do without bad intent.
USUAL_FAULTS = tuple(fault for fault in Fault if fault is not Fault.CORRUPTED)

_BODIES = frozenset({Operation.PUT_OBJECT, Operation.UPLOAD_PART})
_STORING = _BODIES | {Operation.COMPLETE_UPLOAD}
_HEAD = frozenset({Operation.HEAD_OBJECT})
_DOCUMENTS = frozenset(Operation) - _HEAD - {Operation.GET_OBJECT, Operation.HEAD_BUCKET}
# The operations that a fault applies to, where it is not all of them.
_OPERATIONS = {
    Fault.CUT_BODY: _BODIES,
    Fault.RESET: _BODIES,
    Fault.STALLED_BODY: _BODIES,
    Fault.CONFLICT: _STORING,
    Fault.NOT_FOUND_YET: _HEAD,
    Fault.ERROR_IN_200: frozenset({Operation.COMPLETE_UPLOAD}),
    Fault.TRUNCATED_XML: _DOCUMENTS,
    Fault.FALSE_CHECKSUM: _BODIES | _HEAD,
    Fault.FALSE_ETAG: _BODIES | _HEAD,
    Fault.FALSE_SIZE: _HEAD,
    Fault.CORRUPTED: frozenset({Operation.PUT_OBJECT}),
}


def applies_to(fault: Fault, operation: Operation) -> bool:
    """Return whether `fault` can happen to `operation`."""
    return operation in _OPERATIONS.get(fault, frozenset(Operation))


def is_afterwards(fault: Fault) -> bool:
    """Return whether the bucket has done what it was asked to when `fault` happens."""
    return fault in _AFTERWARDS


class FaultScript(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests fail, and how.

    First `plan` is followed: None lets a request pass, a fault waits for a request that it
    applies to and lets others pass. Then `rate` of the requests fail, each by one of `kinds`.
    """

    plan: tuple[Fault | None, ...] = ()
    rate: float = 0.0
    kinds: tuple[Fault, ...] = USUAL_FAULTS
    seed: int = 0
    drip_s: float = 1.0  # between two bytes
    stall_s: float = math.inf  # then the connection ends
    retry_after_s: int = 1


class FaultDice:
    """Draws the fault of each request; the same for the same script and the same requests."""

    def __init__(self, script: FaultScript) -> None:
        self._plan = deque(script.plan)
        self._script = script
        self._random = random.Random(script.seed)

    def draw(self, operation: Operation) -> Fault | None:
        """Return the fault of the next request; None if it has none."""
        if self._plan:
            planned = self._plan[0]
            if planned is None or applies_to(planned, operation):
                self._plan.popleft()
                return planned
            return None
        if self._random.random() >= self._script.rate:
            return None
        kinds = [fault for fault in self._script.kinds if applies_to(fault, operation)]
        return self._random.choice(kinds) if kinds else None
