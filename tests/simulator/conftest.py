"""What the simulator's tests share: rebuilding a book, the true one, and a running simulator."""

from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal

import pytest
import trio

from trio_collector.simulator import Simulation, Simulator, serve_simulator
from trio_collector.simulator.markets.market import Market
from trio_collector.simulator.net.rest import true_book

Side = dict[Decimal, Decimal]


@pytest.fixture
def apply() -> Callable[[Side, Iterable[list[str]]], None]:
    """Set levels of one side of a book; a size of 0 removes."""

    def apply(side: Side, levels: Iterable[list[str]]) -> None:
        for price, size, *_ in levels:
            if Decimal(size):
                side[Decimal(price)] = Decimal(size)
            else:
                side.pop(Decimal(price), None)

    return apply


@pytest.fixture
def truth() -> Callable[[Market | None], tuple[Side, Side]]:
    """Return bids and asks of a market as they are."""

    def truth(market: Market | None) -> tuple[Side, Side]:
        assert market is not None
        book = true_book(market)
        return (
            {Decimal(price): Decimal(size) for price, size in book["bids"]},
            {Decimal(price): Decimal(size) for price, size in book["asks"]},
        )

    return truth


@pytest.fixture
def start(nursery: trio.Nursery) -> Callable[[Simulation], Awaitable[Simulator]]:
    """Start a simulator that ends with the test."""

    async def start(settings: Simulation) -> Simulator:
        simulator = await nursery.start(serve_simulator, settings)
        assert isinstance(simulator, Simulator)
        return simulator

    return start
