"""The status document: the state at one moment, as `/api/status` sends it and page and terminal show it.

Names end in their unit; an age counts back from the moment of the document. None is not known.
"""

import enum

import msgspec

SAMPLE_S = 2.0  # between two samples of a history
SAMPLES = 120  # kept of each history, the latest last


class Status(enum.StrEnum):
    """The verdict in a word; each is worse than the one before."""

    HEALTHY = "healthy"
    STARTING = "starting"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Reason(msgspec.Struct, frozen=True):
    """A reason of the verdict: a fixed code, and a text with names and numbers."""

    code: str
    text: str


class Health(msgspec.Struct, frozen=True):
    """The verdict on a document; `obstacles` are the reasons why the collector is not ready."""

    status: Status = Status.STARTING
    reasons: tuple[Reason, ...] = ()
    obstacles: tuple[Reason, ...] = ()

    @property
    def is_ready(self) -> bool:
        return not self.obstacles


class StreamStatus(msgspec.Struct, frozen=True):
    """One stream."""

    exchange: str
    symbol: str
    data_type: str
    connection: str
    state: str
    was_subscribed: bool
    is_dead: bool  # stale in its session, or no data for data_timeout_s without a session
    rows: int
    rows_per_s: float
    age_s: float | None  # of the latest row
    lag_ms: float | None  # from the exchange's clock to ours, mean of the latest sample with data
    gaps: int
    latest_gap_age_s: float | None
    detail: str = ""  # why it is down
    history: tuple[float, ...] = ()  # of rows_per_s

    @property
    def name(self) -> str:
        return f"{self.exchange} {self.symbol} {self.data_type}"


class ConnectionStatus(msgspec.Struct, frozen=True):
    """One connection."""

    name: str
    is_up: bool
    sessions: int
    since_s: float  # for how long it has been up or down
    streams: int
    reason: str = ""
    detail: str = ""


class StorageStatus(msgspec.Struct, frozen=True):
    """The rows on their way from memory to the archive or the store."""

    mode: str
    inflight_bytes: int = 0
    max_inflight_bytes: int = 0
    rows_buffered: int = 0
    journals: int = 0
    journal_bytes: int = 0
    journal_rows: int = 0
    waiting_seals: int = 0
    files_sealed: int = 0
    rows_sealed: int = 0
    is_disk_low: bool = False
    failing_streams: int = 0  # whose rows cannot be written now
    disk_error: str | None = None
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    min_free_bytes: int = 0
    spool_files: int = 0
    spool_bytes: int = 0
    spool_age_s: float = 0.0
    uploads: int = 0
    upload_failures: int = 0
    uploaded_bytes: int = 0
    delivery_error: str | None = None
    delivery_refusal: str | None = None
    is_store_down: bool = False


class RecentEventStatus(msgspec.Struct, frozen=True):
    """`event` happened to `subject`, `times` times since `first_us`."""

    subject: str
    event: str
    text: str
    first_us: int
    latest_us: int
    times: int


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state at one moment."""

    version: str
    server: str = ""
    now_us: int
    uptime_s: float
    sample_s: float = SAMPLE_S
    is_draining: bool = False
    health: Health = Health()
    connections: tuple[ConnectionStatus, ...] = ()
    streams: tuple[StreamStatus, ...] = ()
    storage: StorageStatus
    rows_per_s: float = 0.0
    history: tuple[float, ...] = ()  # of rows_per_s
    messages_dropped: int = 0
    dropped_recently: int = 0  # while the history lasts
    unparsed_rows: int = 0
    happenings: tuple[RecentEventStatus, ...] = ()

    @property
    def connections_up(self) -> int:
        return sum(each.is_up for each in self.connections)
