"""The protocol of a store: the few calls that delivery needs.

`S3Store` is the real one; a fake in the tests passes the same contract. Each call is one attempt
with its own deadline, and raises StoreError. The caller decides whether and when to try again.
"""

from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from trio_collector.store.digest import Digest
from trio_collector.store.local_file import LocalFile


class ObjectInfo(NamedTuple):
    """What a store says of an object in the response to PUT or HEAD; None where it says nothing."""

    size: int | None = None
    checksum: str | None = None  # SHA-256 in base64; of several parts with their number
    etag: str | None = None  # without quotes
    is_encrypted: bool = False  # with a key, so that the ETag does not depend on the content alone


class ObjectStore(Protocol):
    """A bucket. Cancelling a call may leave its work done or not; nothing is ever overwritten."""

    def ensure_bucket(self) -> Awaitable[None]:
        """Create the bucket if it is missing and may be created.

        Raises BucketMissing if it may not, and StoreRejected if others own the name.
        """
        ...

    def put(self, key: str, content: LocalFile) -> Awaitable[ObjectInfo]:
        """Store `content` under `key` and return what the store says of it.

        Raises ObjectExists if there is an object of that name, and OSError if the file cannot be read.
        """
        ...

    def head(self, key: str) -> Awaitable[ObjectInfo | None]:
        """Return what the store says of the object `key`; None if there is none."""
        ...

    def fetch_digest(self, key: str, size: int) -> Awaitable[Digest]:
        """Read the object `key`, of `size` bytes, back and return the identity of what came.

        Raises IntegrityError if it was another number of bytes.
        """
        ...

    def delete(self, key: str) -> Awaitable[None]:
        """Remove the object `key`. Only the probe calls it, for the object that it has made."""
        ...
