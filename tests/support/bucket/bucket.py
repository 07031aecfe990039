"""The bucket as a test sees it: its address, its objects, the requests so far, and its faults."""

from collections.abc import Mapping
from typing import NamedTuple

from tests.support.bucket.faults.fault import Fault, FaultDice, FaultScript
from tests.support.bucket.request.operation import Operation
from tests.support.bucket.settings import BucketSettings, Clock, Credential
from tests.support.bucket.storage.contents import StoredObject, Upload
from tests.support.bucket.storage.service import Service

HOST = "127.0.0.1"


class Served(NamedTuple):
    """A request and its result."""

    at: float  # Unix time, by the bucket's clock
    operation: Operation | None  # None: refused for its head
    method: str
    key: str
    status: int | None  # None: no answer was sent, or half of one
    code: str  # of an error, else empty
    fault: Fault | None


class Bucket:
    """A running bucket; `objects` and `requests` are what really happened."""

    def __init__(self, settings: BucketSettings, clock: Clock) -> None:
        self.settings = settings
        self.service = Service(settings)
        self.clock = clock
        self.port = 0
        self.ca_pem = b""  # what a client has to trust, with TLS
        self.requests: list[Served] = []
        self.is_paused = False
        self.set_faults(FaultScript())

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self.settings.is_tls else 'http'}://{HOST}:{self.port}"

    @property
    def bucket(self) -> str:
        return self.settings.bucket

    @property
    def region(self) -> str:
        return self.settings.region

    @property
    def access_key(self) -> str:
        return self.settings.access_key

    @property
    def secret_key(self) -> str:
        return self.settings.secret_key

    @property
    def credentials(self) -> dict[str, Credential]:
        """What each access key needs; it may be changed while the bucket runs."""
        return self.service.credentials

    @property
    def is_created(self) -> bool:
        return self.service.contents.is_created

    @property
    def objects(self) -> Mapping[str, StoredObject]:
        """What is really stored, by key."""
        return self.service.contents.objects

    @property
    def uploads(self) -> Mapping[str, Upload]:
        """The uploads in parts that are open, by id."""
        return self.service.contents.uploads

    def set_faults(self, script: FaultScript) -> None:
        """Inject the faults of `script` from now on."""
        self.script = script
        self.dice = FaultDice(script)

    def pause(self) -> None:
        """End every connection at its next request, without a response."""
        self.is_paused = True

    def resume(self) -> None:
        """Serve again."""
        self.is_paused = False
