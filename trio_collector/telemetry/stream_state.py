"""The live state of one stream: the state it is in, what it has received, what it missed.

The words of the ledger lead from one state to the next:

    waiting ──subscribed──▶ subscribed ──data──▶ live ──stale──▶ stale ──data──▶ live
    any ──rejected──▶ refused      any ──end of its session──▶ down, or stopped
"""

import enum
from collections.abc import Mapping

import msgspec

from trio_collector.events import Batch
from trio_collector.ledger import LedgerEvent


class StreamState(enum.StrEnum):
    """The state of a stream."""

    WAITING = "waiting"  # no session has asked for it yet
    SUBSCRIBED = "subscribed"  # granted; no data yet in this session
    LIVE = "live"
    STALE = "stale"  # the session is open, and there was no data for longer than allowed
    REFUSED = "refused"  # the exchange refused the subscription
    DOWN = "down"  # its session has ended, another one follows
    STOPPED = "stopped"  # the collector was asked to stop


_STATE_AFTER = {
    LedgerEvent.SUBSCRIBED: StreamState.SUBSCRIBED,
    LedgerEvent.LIVE: StreamState.LIVE,
    LedgerEvent.STALE: StreamState.STALE,
    LedgerEvent.REJECTED: StreamState.REFUSED,
}


class LiveStream(msgspec.Struct, eq=False):
    """One stream. Counts never go down; times are microseconds since the Unix epoch."""

    connection: str
    state: StreamState = StreamState.WAITING
    was_subscribed: bool = False
    rows: int = 0
    latest_us: int | None = None  # arrival of the latest row
    lag_us: int = 0  # from the exchange's clock to ours, summed over `lag_batches` batches
    lag_batches: int = 0
    gaps: int = 0
    latest_gap_us: int | None = None
    refusal: str = ""  # why the exchange refused it

    def received(self, batch: Batch) -> None:
        """Count the rows of `batch`."""
        self.rows += batch.rows
        self.latest_us = batch.received_us
        self.state = StreamState.LIVE
        sent_us = batch.exchange_us[-1]
        if sent_us is not None:
            self.lag_us += batch.received_us - sent_us
            self.lag_batches += 1

    def noted(self, event: LedgerEvent, at_us: int, fields: Mapping[str, object]) -> None:
        """Follow a ledger row of the session."""
        match event:
            case LedgerEvent.SUBSCRIBED:
                self.was_subscribed = True
                self.refusal = ""
            case LedgerEvent.REJECTED:
                self.refusal = str(fields.get("reason", ""))
            case LedgerEvent.GAP:
                self.gaps += 1
                self.latest_gap_us = at_us
        # Some exchanges acknowledge a subscription after its first data.
        is_late_ack = event is LedgerEvent.SUBSCRIBED and self.state is StreamState.LIVE
        if not is_late_ack:
            self.state = _STATE_AFTER.get(event, self.state)

    def session_ended(self, *, is_stop: bool) -> None:
        """Follow the end of the last session that carried it; a refusal outlasts the session."""
        if self.state is not StreamState.REFUSED:
            self.state = StreamState.STOPPED if is_stop else StreamState.DOWN
