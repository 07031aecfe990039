"""What the tests of the writer share, see `tests.support.journals`."""

from tests.support.journals import (
    inline_worker,
    ledger,
    make_batch,
    run_once,
    sealed_frames,
    write_journal,
)

__all__ = ["inline_worker", "ledger", "make_batch", "run_once", "sealed_frames", "write_journal"]
