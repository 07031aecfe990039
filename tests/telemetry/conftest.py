"""What the tests of the live state take from those of the uploader, see `tests.support.delivery`."""

from tests.support.delivery import inline_workers, memory_store, seal, spool

__all__ = ["inline_workers", "memory_store", "seal", "spool"]
