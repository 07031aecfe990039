"""Every error that is raised on purpose.

The tree says whose doing it was. What is not in it is a bug and may end the process: the journals
make that safe::

    CollectorError
      ConfigError           the configuration's: every problem with its place and remedy
      FeedError             the exchange's or the network's: ends a session, a new one follows
        UnreadableFrame     one frame that no adapter can read; kept as an `unparsed` row
        SessionEnded        the end of a session, with its one reason
      DiskError             the disk's: rows stay where they are and the call is tried again
        JournalError        a journal could not be written, or what it holds cannot be read
        SealError           a Parquet file does not hold what its journal holds
        DataDirLocked       another process collects into the same data_dir
      StoreError            the store's (S3): the file stays in the spool and is tried again
        StoreUnavailable    no answer, or one that time alone changes: again soon
          StoreThrottling   it is asked too much: everything slows down
        StoreRejected       a response that needs a person: tried again, seldom, and loudly
          BucketMissing     there is no such bucket; it may be created
        IntegrityError      what the store has, or says it has, is not what was sent
        ObjectExists        there is an object of that name: maybe ours, from an earlier attempt
      EndpointError         the endpoint of a running collector does not answer `status`
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class CollectorError(Exception):
    """Base of every error raised on purpose."""


class Problem(NamedTuple):
    """One thing that is wrong in a configuration: where, and what would be right."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ConfigError(CollectorError):
    """A configuration that cannot be used; `problems` holds all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class FeedError(CollectorError):
    """Something an exchange or the way to it did."""


class UnreadableFrame(FeedError):
    """A frame that is not what the exchange documents; `frame` holds its bytes."""

    def __init__(self, exchange: str, reason: str, frame: bytes) -> None:
        super().__init__(f"{exchange}: {reason}")
        self.exchange = exchange
        self.reason = reason
        self.frame = frame


class SessionEnded(FeedError):
    """The end of a session.

    `reason` is one of `feed.wire.end_reason.EndReason`; `detail` says it in words; `retry_after_s` is what
    the exchange asked for, if it did; `code` is a close code or an HTTP status.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        code: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.code = code
        self.retry_after_s = retry_after_s


class DiskError(CollectorError):
    """Something the disk did; `path` is where."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = path


class JournalError(DiskError):
    """A journal that cannot be written on, or that holds what cannot be read."""


class SealError(DiskError):
    """A Parquet file that does not hold what its journal holds; the journal is kept."""


class DataDirLocked(DiskError):
    """Another process holds the lock of this data_dir."""


class StoreError(CollectorError):
    """Something the store did; the file stays in the spool and is tried again.

    `status` is that of HTTP, `code` the store's own word and `request_id` what its operators ask
    for; each is empty where there was none. `retry_after_s` is what it asked for, 0 if nothing.
    `remedy` says what a person can do. `is_permanent` tells that soon again is of no use.
    """

    is_permanent = False

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        code: str = "",
        request_id: str = "",
        retry_after_s: float = 0.0,
        remedy: str = "",
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.remedy = remedy


class StoreUnavailable(StoreError):
    """The store or the way to it does not work now."""


class StoreThrottling(StoreUnavailable):
    """The store is asked too much: whatever goes to it slows down."""


class StoreRejected(StoreError):
    """The store will not, until a person changes something; `remedy` says what."""

    is_permanent = True


class BucketMissing(StoreRejected):
    """There is no such bucket."""


class IntegrityError(StoreError):
    """What the store has, or says it has, is not what was sent; nothing is deleted on its word."""


class ObjectExists(StoreError):
    """There is an object of that name already, and it was left as it is."""


class EndpointError(CollectorError):
    """Nothing that answers like a collector is where one was looked for."""


def leaves_of(exc: BaseException) -> Iterator[BaseException]:
    """Yield the errors in `exc`, which may be a group of groups, or `exc` if it is one itself."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from leaves_of(inner)
    else:
        yield exc
