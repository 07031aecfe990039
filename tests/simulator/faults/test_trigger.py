import pytest

from trio_collector.simulator.faults.fault import Fault, Kind
from trio_collector.simulator.faults.trigger import ArmedFault, Trigger


def moments(fault: Fault, opened_s: float, *, until_s: int = 100) -> list[int]:
    """Return the whole seconds at which `fault` happens to a connection, one message in each."""
    armed = ArmedFault(fault, "name")
    trigger = Trigger(armed, opened_s, armed.dice())
    found = []
    for second in range(int(opened_s), until_s):
        if trigger.is_due(second, second - int(opened_s), is_message=True):
            trigger.fire(second)
            found.append(second)
    return found


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, [10]),
        ({"after_s": 5}, [15]),
        ({"after_messages": 7}, [17]),
        ({"after_s": 5, "after_messages": 7}, [17]),
        ({"at_s": 30}, [30]),
        ({"at_s": 9}, []),
        ({"every_s": 30}, [40, 70]),
        ({"after_s": 5, "every_s": 30}, [15, 45, 75]),
        ({"at_s": 3, "every_s": 30}, [33, 63, 93]),
        ({"after_messages": 50, "every_s": 20}, [60, 80]),
        ({"every_s": 30, "times": 1}, [40]),
    ],
)
def test_when_an_alarm_goes_off(conditions: dict[str, float], expected: list[int]) -> None:
    """A connection opened at 10 s: once, at a moment, or again and again."""
    assert moments(Fault(kind=Kind.RESET, **conditions), 10.0) == expected  # type: ignore[arg-type]  # by name


def test_dice_are_those_of_the_seed() -> None:
    """The same name throws the same, from `after_s` on; another one throws otherwise."""
    fault = Fault(kind=Kind.LOST, rate=0.3, after_s=20)
    first, again = moments(fault, 0), moments(fault, 0)
    assert first == again
    assert 10 < len(first) < 40
    assert min(first) >= 20
    armed = ArmedFault(fault, "name")
    assert armed.dice("okx", 1).random() != armed.dice("okx", 2).random()
    assert armed.dice("okx", 1).random() == ArmedFault(fault, "name").dice("okx", 1).random()


def test_windows() -> None:
    """What lasts is on from `at_s` for `for_s`, and again each `every_s`."""
    armed = ArmedFault(Fault(kind=Kind.STATUS_503, at_s=10, for_s=5, every_s=60), "name")
    assert [now_s for now_s in range(100) if armed.is_on(now_s)] == [*range(10, 15), *range(70, 75)]
    assert armed.left_s(12) == 3
    assert ArmedFault(Fault(kind=Kind.STATUS_503), "name").is_on(10**6)
