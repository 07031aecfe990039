"""Answers REST requests on a connection, or injects the fault that concerns them."""

from collections.abc import Mapping

import h11
import trio

from trio_collector.simulator.clock import Clock
from trio_collector.simulator.faults.fault import Fault, Kind
from trio_collector.simulator.faults.injector import FaultInjector
from trio_collector.simulator.markets.exchange import SimulatedExchange
from trio_collector.simulator.net.connection_end import Stream, discard, finish
from trio_collector.simulator.net.http import HttpAnswer, HttpRequest, render_answer
from trio_collector.simulator.net.refusals import ban_refusal, refusal
from trio_collector.simulator.net.rest import MINUTE_S, Meter, answer_get, request_weight
from trio_collector.simulator.record import SentRecord


class RestService:
    """The REST side of all exchanges, and the weight that its requests have used."""

    def __init__(
        self,
        exchanges: Mapping[str, SimulatedExchange],
        sent: SentRecord,
        injector: FaultInjector,
        clock: Clock,
    ) -> None:
        self._exchanges = exchanges
        self._sent = sent
        self._injector = injector
        self._clock = clock
        self._meter = Meter()
        binance = exchanges.get("binance")
        markets = binance.markets if binance else {}
        self._opening_books = {symbol: market.book() for symbol, market in markets.items()}

    async def answer(self, stream: Stream, http: h11.Connection, request: HttpRequest) -> None:
        """Answer `request`; the connection ends with it."""
        exchange = request.path.strip("/").partition("/")[0]
        now_s = self._clock.now_s()
        weight = request_weight(request.target)
        used = self._meter.spend(weight, self._clock.now_ms() / 1_000)
        armed = self._injector.rest(exchange, now_s, used) if weight else None
        if armed is None:
            answer = self._sound_answer(request, used)
        elif armed.fault.kind is Kind.IP_BAN:
            answer = ban_refusal(armed, self._clock)
        else:
            await self._answer_faulty(stream, http, request, armed.fault, used)
            return
        await stream.send_all(render_answer(http, answer))

    async def _answer_faulty(
        self,
        stream: Stream,
        http: h11.Connection,
        request: HttpRequest,
        fault: Fault,
        used: int,
    ) -> None:
        answer = self._sound_answer(request, used, is_stale=fault.kind is Kind.REST_STALE)
        match fault.kind:
            case Kind.REST_SILENT:
                await discard(stream)
                return
            case Kind.REST_CUT:
                await stream.send_all(render_answer(http, answer)[: -len(answer.body) // 2])
                await finish(stream)
                return
            case Kind.REST_STATUS:
                answer = refusal(fault.status, fault, fault.retry_after_s, self._clock)
            case Kind.REST_WEIGHT:
                left_s = MINUTE_S - self._clock.now_ms() / 1_000 % MINUTE_S
                answer = refusal(429, fault, left_s, self._clock)
            case Kind.REST_GARBAGE:
                answer = answer._replace(body=b"<html>not what you asked for</html>")
            case Kind.REST_LAG:
                await trio.sleep(fault.delay_s)
        await stream.send_all(render_answer(http, answer))

    def _sound_answer(
        self, request: HttpRequest, used: int, *, is_stale: bool = False
    ) -> HttpAnswer:
        if request.method != "GET":
            return HttpAnswer(405, b"")
        answer = answer_get(
            request.target,
            self._exchanges,
            self._sent,
            injected_faults=self._injector.injected_faults,
            books=self._opening_books if is_stale else None,
        )
        if not request_weight(request.target):
            return answer
        return answer._replace(headers=(("X-MBX-USED-WEIGHT-1M", str(used)),))
