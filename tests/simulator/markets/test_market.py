import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.simulator.markets.book_side import LEVELS
from trio_collector.simulator.markets.market import (
    MEAN_TRADES_PER_MATCH,
    Book,
    BookChange,
    Change,
    Market,
    MarketRates,
    Match,
    Quiet,
)

PACE = MarketRates(books_per_s=100, matches_per_s=50)


def make_market(seed: int = 1, rates: MarketRates = PACE) -> Market:
    return Market("BTCUSDT", rates, random.Random(seed), now_ms=0)


def test_same_seed_makes_the_same_market() -> None:
    """Two markets of one seed change alike, two of different seeds do not."""
    first, again, other = (list(make_market(seed).step(5_000)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@given(st.lists(st.integers(1, 400), max_size=40))
def test_steps_do_not_matter(steps: list[int]) -> None:
    """However time is cut, the same things happen at the same times."""
    whole = list(make_market().step(sum(steps)))
    market, cut, now_ms = make_market(), list[Change](), 0
    for step in steps:
        now_ms += step
        cut += market.step(now_ms)
    assert cut == whole


@given(st.integers())
def test_book_is_sound_after_every_change(seed: int) -> None:
    """The best bid is below the best ask, sizes are positive, prices ordered, depth is kept."""
    market = make_market(seed)
    for _ in market.step(3_000):
        assert_sound(market.book())


def assert_sound(book: Book) -> None:
    assert book.bids[0][0] < book.asks[0][0]
    assert all(size > 0 and price > 0 for price, size in book.bids + book.asks)
    assert len(book.bids) == len(book.asks) == LEVELS
    asks, bids = [price for price, _ in book.asks], [price for price, _ in book.bids]
    assert asks == sorted(set(asks))
    assert bids == sorted(set(bids), reverse=True)


def test_changes_make_the_book() -> None:
    """The first book with all changes applied is the last book."""
    market = make_market()
    first = market.book()
    bids, asks = dict(first.bids), dict(first.asks)
    for change in market.step(60_000):
        if isinstance(change, BookChange):
            bids.update(change.bids)
            asks.update(change.asks)
    last = market.book()
    assert {price: size for price, size in bids.items() if size} == dict(last.bids)
    assert {price: size for price, size in asks.items() if size} == dict(last.asks)
    assert first.bids != last.bids


def test_ids_have_no_holes() -> None:
    """Update ids, numbers and trade ids go on by one; times never go back."""
    market = make_market()
    book, trade_id, at_ms = market.book(), market.latest_trades[-1].id, 0
    last_id, number = book.last_id, book.number
    for change in market.step(20_000):
        assert change.at_ms >= at_ms
        at_ms = change.at_ms
        if isinstance(change, BookChange):
            assert change.first_id == last_id + 1
            assert change.last_id == last_id + len(change.bids) + len(change.asks)
            assert change.number == number + 1
            last_id, number = change.last_id, change.number
        elif isinstance(change, Match):
            assert [trade.id for trade in change.trades] == [
                trade_id + 1 + place for place in range(len(change.trades))
            ]
            trade_id = change.trades[-1].id


def test_rates_are_the_means() -> None:
    """Over 100 s the numbers of changes, matches and trades are those of the rates, within 10 %."""
    happened = list(make_market().step(100_000))
    matches = [change for change in happened if isinstance(change, Match)]
    assert len(happened) - len(matches) == pytest.approx(10_000, rel=0.1)
    assert len(matches) == pytest.approx(5_000, rel=0.1)
    trades = sum(len(match.trades) for match in matches)
    assert trades == pytest.approx(5_000 * MEAN_TRADES_PER_MATCH, rel=0.1)


def test_trades_print_at_the_best_price() -> None:
    """A buyer pays the best ask, a seller gets the best bid."""
    market = make_market()
    for change in market.step(5_000):
        if isinstance(change, Match):
            book = market.book(1)
            best = book.asks if change.trades[0].is_taker_buy else book.bids
            assert {trade.price for trade in change.trades} == {best[0][0]}


def test_price_walks_around_its_start() -> None:
    """After an hour of fast change the price has moved, and is neither zero nor gone far."""
    market = make_market(rates=MarketRates(books_per_s=20, matches_per_s=0))
    before = market.book(1).bids[0][0]
    for _ in market.step(3_600_000):
        pass
    after = market.book(1).bids[0][0]
    assert after != before
    assert before / 2 < after < before * 2


def test_market_without_a_pace_is_silent() -> None:
    """At rates of zero nothing ever happens."""
    assert list(make_market(rates=MarketRates(0, 0)).step(10**9)) == []


def test_quiet_is_said() -> None:
    """Without a change of the book, `Quiet` comes every `quiet_ms`."""
    happened = list(make_market(rates=MarketRates(0, 0, quiet_ms=3_000)).step(10_000))
    assert happened == [Quiet(3_000), Quiet(6_000), Quiet(9_000)]


def test_rest_puts_everything_off() -> None:
    """What would have happened happens later by the pause, and nothing is made up for."""
    rested, other = make_market(), make_market()
    rested.rest(60_000)
    assert list(rested.step(60_000)) == []
    late, early = list(rested.step(61_000)), list(other.step(1_000))
    assert [change.at_ms - 60_000 for change in late] == [change.at_ms for change in early]
