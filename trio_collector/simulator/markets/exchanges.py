"""All exchanges of a simulation."""

from collections.abc import Mapping

from trio_collector.simulator.endpoints import ENDPOINTS
from trio_collector.simulator.markets.exchange import ExchangeFacts, SimulatedExchange
from trio_collector.simulator.markets.recorded import RecordedExchange, read_lines
from trio_collector.simulator.settings import Simulation


def open_exchanges(settings: Simulation, now_ms: float) -> dict[str, SimulatedExchange]:
    """Return every exchange of `settings`, by its name in ENDPOINTS.

    Raises OSError if `captures` cannot be read.
    """
    exchanges: dict[str, SimulatedExchange] = {}
    for dialect, name in ENDPOINTS.values():
        if dialect.facts.exchange in settings.exchanges and name not in exchanges:
            exchanges[name] = _open_exchange(name, dialect.facts, settings, exchanges, now_ms)
    return exchanges


def _open_exchange(
    name: str,
    facts: ExchangeFacts,
    settings: Simulation,
    exchanges: Mapping[str, SimulatedExchange],
    now_ms: float,
) -> SimulatedExchange:
    if settings.captures is not None:
        # One for all paths of an exchange: its recording is sent once.
        return exchanges.get(facts.exchange) or RecordedExchange(
            facts, read_lines(settings.captures, facts.exchange), now_ms=now_ms
        )
    exchange = SimulatedExchange(facts, now_ms=now_ms, name=name)
    exchange.list_markets(
        settings.exchanges[facts.exchange],
        books_per_s=settings.books_per_s,
        trades_per_s=settings.trades_per_s,
        seed=f"{settings.seed}/{name}",
    )
    return exchange
