"""What the tests of the store share, see `tests.support.delivery`."""

from tests.support.delivery import content_of, small_parts, store_of

__all__ = ["content_of", "small_parts", "store_of"]
