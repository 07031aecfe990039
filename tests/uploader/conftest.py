"""What the tests of the uploader share, see `tests.support.delivery`."""

from tests.support.delivery import (
    content_of,
    inline_workers,
    memory_store,
    seal,
    small_parts,
    spool,
    store_of,
)

__all__ = [
    "content_of",
    "inline_workers",
    "memory_store",
    "seal",
    "small_parts",
    "spool",
    "store_of",
]
