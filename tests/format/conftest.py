"""What the tests of the file formats share, see `tests.support.journals`."""

from tests.support.journals import make_batch, write_journal

__all__ = ["make_batch", "write_journal"]
