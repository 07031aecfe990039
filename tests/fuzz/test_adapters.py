"""The short form of fuzz_adapters.py."""

import runpy
from pathlib import Path

import pytest

FUZZ = runpy.run_path(str(Path(__file__).with_name("fuzz_adapters.py")))
MESSAGES = 500


@pytest.mark.parametrize("name", FUZZ["TARGETS"])
def test_generated_messages_are_kept_whatever_they_say(name: str) -> None:
    """Each of them is an event, a control, or an unparsed row with its bytes; some are events."""
    tally = FUZZ["run"](name, MESSAGES, seed=0)
    assert tally.total >= MESSAGES
    assert tally.kinds["event"] >= MESSAGES // 50
    assert tally.kinds["unreadable"] >= MESSAGES // 50
