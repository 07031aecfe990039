"""A live state for tests: planned connections, and batches of rows as feeds report them."""

from trio_collector.events import Batch, Stream


class Planned:
    """A connection as the plan has it; it is called after its first stream, or as `name` says."""

    def __init__(self, *streams: Stream, data_timeout_s: float = 90.0, name: str = "") -> None:
        self.streams = list(streams)
        self.data_timeout_s = data_timeout_s
        self.names = [name or ":".join(streams[0])]


def batch_of(stream: Stream, rows: int, received_us: int, lag_us: int | None = 5_000) -> Batch:
    """Return a batch whose rows took `lag_us` from the exchange to us; None: of unknown age."""
    batch = Batch(stream, received_us)
    for _ in range(rows):
        batch.append("", None if lag_us is None else received_us - lag_us, b"{}")
    return batch
