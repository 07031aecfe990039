from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from trio_collector.simulator.markets.decimals import fixed, number, trimmed


@given(st.integers(0, 10**12), st.integers(0, 6), st.integers(0, 6))
def test_texts_are_the_number(steps: int, decimals: int, more: int) -> None:
    """Every text says just `steps` * 10 ** -`decimals`."""
    value = Decimal(steps).scaleb(-decimals)
    assert Decimal(fixed(steps, decimals, decimals + more)) == value
    assert Decimal(trimmed(steps, decimals)) == value
    assert Decimal(number(steps, decimals)) == value


def test_forms() -> None:
    """Fixed texts keep their zeros, trimmed ones have none, tiny numbers have an exponent."""
    assert fixed(35_210_000, 8, 8) == "0.35210000"
    assert fixed(150, 2, 8) == "1.50000000"
    assert fixed(5, 0, 0) == "5"
    assert trimmed(150, 2) == "1.5"
    assert trimmed(100, 0) == "100"
    assert trimmed(0, 6) == "0"
    assert number(84, 6) == "8.4e-05"
