"""What the tests of the store share, see `tests.support`."""

from tests.support.delivery import content_of, small_parts, store_of
from tests.support.stores import fast_clock, serve_raw

__all__ = ["content_of", "fast_clock", "serve_raw", "small_parts", "store_of"]
