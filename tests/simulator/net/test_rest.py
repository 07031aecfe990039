import json

import pytest

from trio_collector.simulator import Simulation
from trio_collector.simulator.markets.exchange import SimulatedExchange
from trio_collector.simulator.markets.exchanges import open_exchanges
from trio_collector.simulator.net.frames import Frame, StreamKey, lost
from trio_collector.simulator.net.rest import answer_get
from trio_collector.simulator.record import SentRecord


@pytest.fixture
def exchanges() -> dict[str, SimulatedExchange]:
    return open_exchanges(Simulation(), 0)


@pytest.mark.parametrize(("limit", "depth"), [("", 50), ("&limit=5", 5), ("&limit=5000", 50)])
def test_depth_has_the_best_levels(
    exchanges: dict[str, SimulatedExchange], limit: str, depth: int
) -> None:
    """GET depth gives both sides down to the limit."""
    answer = answer_get(f"/binance/api/v3/depth?symbol=BTCUSDT{limit}", exchanges, SentRecord())
    body = json.loads(answer.body)
    assert answer.status == 200
    assert [len(body["bids"]), len(body["asks"])] == [depth, depth]
    assert body["lastUpdateId"] == exchanges["binance"].markets["BTCUSDT"].book().last_id


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/binance/api/v3/depth", 400),
        ("/binance/api/v3/depth?symbol=NOPE", 400),
        ("/binance/api/v3/depth?symbol=BTCUSDT&limit=x", 400),
        ("/binance/api/v3/depth?symbol=BTCUSDT&limit=0", 400),
        (f"/binance/api/v3/depth?symbol=BTCUSDT&limit={'9' * 5000}", 400),
        ("/simulator/book/okx/NOPE", 404),
        ("/simulator/book/kraken/BTCUSD", 404),
        ("/", 404),
        ("http://[", 404),
    ],
)
def test_what_is_not_there_is_refused(
    exchanges: dict[str, SimulatedExchange], target: str, status: int
) -> None:
    """Bad questions get a status and a JSON body, never an exception."""
    answer = answer_get(target, exchanges, SentRecord())
    assert answer.status == status
    assert json.loads(answer.body)


def test_true_book_is_found_under_any_spelling(exchanges: dict[str, SimulatedExchange]) -> None:
    """The true book is asked for by the exchange's symbol or the plain one."""
    spellings = ("BTC-USDT", "btcusdt", "btc_usdt")
    bodies = {
        answer_get(f"/simulator/book/okx/{symbol}", exchanges, SentRecord()).body
        for symbol in spellings
    }
    (body,) = bodies
    assert len(json.loads(body)["asks"]) == 50


def test_families_of_bybit_have_books_of_their_own(exchanges: dict[str, SimulatedExchange]) -> None:
    """`bybit` is spot; the others are asked for by the exchange's name."""
    books = {
        answer_get(f"/simulator/book/{name}/BTCUSDT", exchanges, SentRecord()).body
        for name in ("bybit", "bybit.linear", "bybit.inverse")
    }
    assert len(books) == 3


def test_counts_can_be_asked_for(exchanges: dict[str, SimulatedExchange]) -> None:
    """GET sent lists the streams with their counts."""
    sent = SentRecord()
    sent.add("okx", Frame(b"{}", (StreamKey("okx", "btcusdt", "trade"),)))
    sent.add("okx", Frame(b"pong"))
    sent.add("okx", lost(Frame(b"{}", (StreamKey("okx", "btcusdt", "trade"),))))
    assert json.loads(answer_get("/simulator/sent", exchanges, sent).body) == {
        "streams": [
            {"exchange": "okx", "symbol": "btcusdt", "data_type": "trade", "frames": 1},
        ],
        "control": {"okx": 1},
        "fates": [
            {
                "exchange": "okx",
                "symbol": "btcusdt",
                "data_type": "trade",
                "fate": "lost",
                "frames": 1,
            },
        ],
    }
