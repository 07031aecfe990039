"""The venues of a simulation."""

from collections.abc import Mapping

from trio_collector.simulator.endpoints import ENDPOINTS
from trio_collector.simulator.recorded import RecordedVenue, read_lines
from trio_collector.simulator.settings import Simulation
from trio_collector.simulator.venue import Venue, VenueFacts


def open_venues(settings: Simulation, now_ms: float) -> dict[str, Venue]:
    """Return every venue of `settings`, by the name that ENDPOINTS gives it.

    Raises OSError if `captures` cannot be read.
    """
    venues: dict[str, Venue] = {}
    for dialect, name in ENDPOINTS.values():
        if dialect.facts.exchange in settings.venues and name not in venues:
            venues[name] = _open_venue(name, dialect.facts, settings, venues, now_ms)
    return venues


def _open_venue(
    name: str,
    facts: VenueFacts,
    settings: Simulation,
    venues: Mapping[str, Venue],
    now_ms: float,
) -> Venue:
    if settings.captures is not None:
        # One venue for all paths of an exchange: its recording is told once.
        return venues.get(facts.exchange) or RecordedVenue(
            facts, read_lines(settings.captures, facts.exchange), now_ms=now_ms
        )
    venue = Venue(facts, now_ms=now_ms, name=name)
    venue.list_markets(
        settings.venues[facts.exchange],
        books_per_s=settings.books_per_s,
        trades_per_s=settings.trades_per_s,
        seed=f"{settings.seed}/{name}",
    )
    return venue
