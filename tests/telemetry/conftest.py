"""What the tests of the live state take from those of writer and uploader, see `tests.support`."""

from tests.support.delivery import inline_workers, memory_store, seal, spool
from tests.support.journals import inline_worker

__all__ = ["inline_worker", "inline_workers", "memory_store", "seal", "spool"]
