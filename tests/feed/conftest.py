"""The virtual clock of the feed's tests."""

import pytest
from trio.testing import MockClock

from tests.support.virtual_time import open_clock


@pytest.fixture
def autojump_clock() -> MockClock:
    """As pytest-trio's, from an odd time on: a wrong sign shows."""
    return open_clock()
