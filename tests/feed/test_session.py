"""Whole sessions, over real WebSockets and memory streams, in virtual time: each end and its traces."""

import contextlib
import math
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from hashlib import sha1
from typing import Any

import orjson
import pytest
import trio
import trio_websocket
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.frames import server_frame
from tests.support.scripted_exchange import make_connection
from tests.support.virtual_time import elapsed_s
from trio_collector.budget import ByteBudget
from trio_collector.config.settings import WebsocketSection
from trio_collector.errors import SessionEnded
from trio_collector.events import Batch, DataType
from trio_collector.exchanges.adapter import Keepalive, Limits, Rate
from trio_collector.feed.books.snapshots import BookSnapshots
from trio_collector.feed.context import FeedContext, LineContext
from trio_collector.feed.continuity.arbitration import LineArbiter
from trio_collector.feed.drift import Drift
from trio_collector.feed.limits.exchange_limits import ExchangeLimits
from trio_collector.feed.monitor import ACK_S
from trio_collector.feed.planning.connections import ConnectionPlan
from trio_collector.feed.sender import READS_WAITING
from trio_collector.feed.session import (
    AGE_MARGIN_S,
    AGE_SPREAD,
    Session,
)
from trio_collector.feed.task import run_feed
from trio_collector.feed.wire.end_reason import EndReason
from trio_collector.feed.wire.websocket import CONNECT_S
from trio_collector.telemetry import metrics

START_US = 1_700_000_000_000_000
BUDGET_BYTES = 1 << 20
MESSAGE_BYTES = 1 << 16
DEAD_S = 30.0
DAY_S = 86_400.0


class Wire(trio.abc.Stream):
    """A client's end of a connection in memory, which can be torn and knows if it was closed."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.is_torn = False
        self.is_closed = False
        self.sent = b""
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        await self._stream.send_all(data)
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self._check()
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        self.is_closed = True
        await self._stream.aclose()

    def _check(self) -> None:
        if self.is_torn:
            raise trio.BrokenResourceError


class Peer:
    """The exchange's end of a connection, once hands are shaken."""

    def __init__(
        self,
        websocket: trio_websocket.WebSocketConnection,
        stream: trio.abc.Stream,
        wire: Wire,
    ) -> None:
        self.websocket = websocket
        self.stream = stream
        self.wire = wire
        self.heard: list[str] = []

    async def hear(self) -> str:
        """Return the next message of the client."""
        text = await self.websocket.get_message()
        assert isinstance(text, str)
        self.heard.append(text)
        return text

    async def say(self, *texts: str) -> None:
        for text in texts:
            await self.websocket.send_message(text)

    async def grant(self, *texts: str) -> None:
        """Grant the first request, then say `texts`."""
        await self.hear()
        await self.say("ack 1", *texts)

    async def say_every(self, pause_s: float, text: str) -> None:
        while True:
            await self.say(text)
            await trio.sleep(pause_s)

    async def tear(self) -> None:
        """Break the connection as a reset does, with the client's next call."""
        self.wire.is_torn = True
        await self.websocket.pong()

    async def vanish(self) -> None:
        """Close the connection without a goodbye."""
        await self.stream.aclose()


Script = Callable[[Peer], Awaitable[None]]
Answer = Callable[[trio.abc.Stream], Awaitable[None]]


class Scene:
    """What surrounds the sessions of a test: an exchange, the writer's end, the budget, the clock."""

    def __init__(self, nursery: trio.Nursery, drift: Drift) -> None:
        self.peers: list[Peer] = []
        self.wires: list[Wire] = []
        self.budget = ByteBudget(BUDGET_BYTES)
        self.stop = trio.Event()
        self.dice = 0.5
        self.to_writer, self.batches = trio.open_memory_channel[Batch](math.inf)
        self.session: Session | None = None
        self._drift = drift
        self._nursery = nursery
        self._answer: Answer = trio.abc.Stream.aclose
        self._script: Script | None = None

    def script(self, script: Script) -> None:
        """Let the exchange shake hands, do as `script` says, and listen until the client leaves."""
        self._script = script

    def answer(self, answer: Answer) -> None:
        """Let the exchange do as `answer` says with every connection, instead of shaking hands."""
        self._answer = answer

    async def connect(self, _url: str, _ssl_context: ssl.SSLContext) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        wire = Wire(ours)
        self.wires.append(wire)
        self._nursery.start_soon(self.serve, theirs, wire)
        return wire

    async def serve(self, stream: trio.abc.Stream, wire: Wire) -> None:
        """Be the exchange at `stream`, whose other end is `wire`."""
        if self._script is None:
            await self._answer(stream)
            return
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            peer = Peer(await request.accept(), stream, wire)
            self.peers.append(peer)
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                await self._script(peer)
                while True:
                    await peer.hear()
            nursery.cancel_scope.cancel()

    def context(self, **websocket: Any) -> FeedContext:
        settings = {"message_timeout_secs": DEAD_S, "max_message_bytes": MESSAGE_BYTES}
        return FeedContext(
            websocket=WebsocketSection(**{**settings, **websocket}),
            budget=self.budget,
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            connect=self.connect,
            exchange_limits={
                "scripted": ExchangeLimits(Limits(connects=(), topics_per_connection=100))
            },
            drifts={"scripted": self._drift},
            stop=self.stop,
            now_us=lambda: START_US + round(elapsed_s() * 1e6),
            random=lambda: self.dice,
        )

    async def wait_relief(self, connection: ConnectionPlan, **websocket: Any) -> float:
        """Live one session until it wants to be relieved; return how long that took."""
        started = elapsed_s()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self.live, connection, **websocket))
            await wait_all_tasks_blocked()
            assert self.session is not None
            await self.session.wants_handover.wait()
            lasted_s = elapsed_s() - started
            self.session.end(SessionEnded(EndReason.HANDOVER))
        return lasted_s

    async def live(self, connection: ConnectionPlan, **websocket: Any) -> SessionEnded:
        """Live one session; return its end. Whatever ended it, the connection is closed."""
        adapter = connection.adapter
        given = LineContext(
            connection=connection,
            feeds=self.context(**websocket),
            to_writer=self.to_writer,
            arbiter=LineArbiter(adapter.global_ids, adapter.contiguous_ids, trio.current_time),
            snapshots=BookSnapshots(),
            timeouts=connection.open_timeouts(),
        )
        self.session = session = Session(given, number=1, topics=list(connection.topics))
        with trio.fail_after(2 * DAY_S):
            ending = await session.run()
        assert all(wire.is_closed for wire in self.wires)
        return ending

    def take(self) -> list[Batch]:
        """Return the batches that are in the writer's channel, and give their bytes back."""
        batches = []
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                batch = self.batches.receive_nowait()
                self.budget.release(batch.size_bytes)
                batches.append(batch)
        return batches


def frames(batches: list[Batch], data_type: DataType) -> list[bytes]:
    """Return the frames of one data type, in the order of the writer's channel."""
    return [
        frame for batch in batches if batch.stream.data_type is data_type for frame in batch.frames
    ]


def ledger(batches: list[Batch]) -> list[dict[str, Any]]:
    return [orjson.loads(frame) for frame in frames(batches, DataType.STATUS)]


def told(batches: list[Batch]) -> list[str]:
    """Return the events of the ledger."""
    return [row["event"] for row in ledger(batches)]


@pytest.fixture
async def scene(nursery: trio.Nursery) -> AsyncIterator[Scene]:
    """An exchange in memory and virtual time; at the end no byte of the budget is missing."""
    scene = Scene(nursery, Drift(make_connection().adapter, 0.0))
    yield scene
    scene.take()
    assert scene.budget.used_bytes == 0


# A session that lives.


async def test_rows_and_ledger_of_a_session(autojump_clock: MockClock, scene: Scene) -> None:
    """Acks, first data, data and the end reach the writer in the order in which they came."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        await trio.sleep(1)
        await peer.say("trade btc 1", "trade btc 2")
        await trio.sleep(1)
        await peer.websocket.aclose(1001, "going away")

    scene.script(script)
    ending = await scene.live(make_connection("trade btc"))
    batches = scene.take()
    assert (ending.reason, ending.code) == (EndReason.CLOSE_FRAME, 1001)
    assert told(batches) == ["subscribed", "live", "disconnected"]
    assert frames(batches, DataType.TRADE) == [b"trade btc 1", b"trade btc 2"]
    assert [batch.received_us - START_US for batch in batches if batch.rows] == sorted(
        batch.received_us - START_US for batch in batches
    )
    times = {row["event"]: batch.received_us for row, batch in _with_batches(batches)}
    assert times["live"] == START_US + 1_000_000  # that of the read
    assert times["disconnected"] == START_US + 2_000_000


def _status(batches: list[Batch]) -> list[Batch]:
    return [batch for batch in batches if batch.stream.data_type is DataType.STATUS]


async def test_the_budget_is_taken_for_every_row(autojump_clock: MockClock, scene: Scene) -> None:
    """What is in flight is the size of all rows that were sent, those of the ledger included."""

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1; orderbook btc 1", "?", "odd ticker", "beat")
        await peer.vanish()

    scene.script(script)
    await scene.live(make_connection("trade btc", "orderbook btc"))
    in_flight = scene.budget.used_bytes
    assert in_flight == sum(batch.size_bytes for batch in scene.take()) > 0


async def test_a_session_is_counted_while_it_is_open(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """The gauge of open sessions rises with the handshake and returns to its value."""
    gauge = metrics.websocket_connected.labels("scripted", "btc")
    before, seen = metrics.total(gauge), []

    async def script(peer: Peer) -> None:
        await peer.grant()
        seen.append(metrics.total(gauge))
        await peer.vanish()

    scene.script(script)
    await scene.live(make_connection())
    assert seen == [before + 1]
    assert metrics.total(gauge) == before


async def test_an_exchange_that_does_not_answer(autojump_clock: MockClock, scene: Scene) -> None:
    """Where there are no acks the ledger says `subscribed` when it was asked for."""

    async def script(peer: Peer) -> None:
        await trio.sleep(1)
        assert await peer.hear() == "sub 1 trade btc"
        await peer.vanish()

    scene.script(script)
    await scene.live(make_connection(sends_acks=False))
    batches = scene.take()
    assert told(batches) == ["subscribed", "disconnected"]
    assert batches[0].received_us == START_US


async def test_requests_keep_to_the_rate(autojump_clock: MockClock, scene: Scene) -> None:
    """Requests leave no faster than the exchange allows."""
    times = []

    async def script(peer: Peer) -> None:
        for number in range(1, 6):
            await peer.hear()
            times.append(elapsed_s())
            await peer.say(f"ack {number}")
        await peer.vanish()

    scene.script(script)
    limits = Limits(connects=(), topics_per_connection=9, requests=Rate(2, 1.0))
    topics = [f"trade {symbol}" for symbol in "abcde"]
    await scene.live(make_connection(*topics, topics_per_request=1, limits=limits))
    assert times == [0, 0, 1, 1, 2]


async def test_refused_topics_are_taken_apart_one_by_one(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """Where answers name nothing, each topic is asked for alone and answered before the next."""

    async def script(peer: Peer) -> None:
        await peer.hear()
        await peer.say("no - one of them is bad")
        for symbol in ("btc", "bad", "eth"):
            assert await peer.hear() == f"sub - trade {symbol}"
            await trio.sleep(5)
            await peer.say("no - bad" if symbol == "bad" else f"ack trade {symbol}")
        await trio.sleep(1)
        await peer.vanish()

    scene.script(script)
    connection = make_connection("trade btc", "trade bad", "trade eth", has_ids=False)
    ending = await scene.live(connection)
    assert ending.reason == EndReason.STREAM_ENDED
    assert scene.peers[0].heard[1:] == ["sub - trade btc", "sub - trade bad", "sub - trade eth"]
    rows = [(row["event"], b.stream.symbol) for row, b in _with_batches(scene.take())]
    assert rows == [
        ("subscribed", "btc"),
        ("rejected", "bad"),
        ("subscribed", "eth"),
        ("disconnected", "btc"),
        ("disconnected", "eth"),
    ]


def _with_batches(batches: list[Batch]) -> list[tuple[dict[str, Any], Batch]]:
    return list(zip(ledger(batches), _status(batches), strict=True))


async def test_what_comes_anyway_is_not_asked_for(autojump_clock: MockClock, scene: Scene) -> None:
    """A topic whose data comes before its turn to be asked for again is not asked for twice."""

    async def script(peer: Peer) -> None:
        await peer.hear()
        await peer.say("no - one of them is bad", "trade eth 1")
        await peer.hear()
        await peer.say("ack trade btc")
        await trio.sleep(5)
        await peer.vanish()

    scene.script(script)
    await scene.live(make_connection("trade btc", "trade eth", has_ids=False))
    assert scene.peers[0].heard == ["sub - trade btc, trade eth", "sub - trade btc"]


async def test_a_wish_of_the_exchange_is_sent_back(autojump_clock: MockClock, scene: Scene) -> None:
    """A text that the exchange wants to hear is sent to it."""

    async def script(peer: Peer) -> None:
        await peer.grant("echo 4711")
        assert await peer.hear() == "4711"
        await peer.vanish()

    scene.script(script)
    assert (await scene.live(make_connection())).reason == EndReason.STREAM_ENDED


# Ends by refusal and silence.


async def test_everything_refused_ends_the_session(autojump_clock: MockClock, scene: Scene) -> None:
    """A session that gets nothing ends as `subscribe_failed`, with the exchange's words."""

    async def script(peer: Peer) -> None:
        await peer.hear()
        await peer.say("no 1 closed for today")

    scene.script(script)
    ending = await scene.live(make_connection())
    assert (ending.reason, ending.detail) == (EndReason.SUBSCRIBE_FAILED, "closed for today")
    assert told(scene.take()) == ["rejected"]


async def test_no_answer_to_a_subscription(autojump_clock: MockClock, scene: Scene) -> None:
    """A subscription that is not answered ends the session, which names it, ten seconds later."""

    async def script(peer: Peer) -> None:
        await peer.hear()
        await trio.sleep(3)
        await peer.say("ack trade btc")

    scene.script(script)
    ending = await scene.live(make_connection("trade btc", "trade eth"))
    assert ending.reason == EndReason.SUBSCRIBE_FAILED
    assert ending.detail == "no answer within 10 s to the subscription of eth trade"
    assert elapsed_s() == ACK_S


@pytest.mark.parametrize("heartbeat", ["beat", "pong", "ack 1"])
async def test_heartbeats_do_not_keep_a_dead_feed(
    autojump_clock: MockClock, scene: Scene, heartbeat: str
) -> None:
    """When no topic has data another session is asked for, however alive the connection is."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        await peer.say_every(1, heartbeat)

    scene.script(script)
    assert await scene.wait_relief(make_connection("trade btc", "trade eth")) == 90
    assert told(scene.take())[2:] == ["stale", "stale", "disconnected", "disconnected"]
    assert scene.session is not None
    leaving = scene.session.handover_reason
    assert leaving is not None
    assert (leaving.reason, leaving.detail) == (EndReason.DATA_TIMEOUT, "no data for 90 s")


async def test_a_pause_that_is_over(autojump_clock: MockClock, scene: Scene) -> None:
    """Data that comes before the session is relieved is a reason to stay."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        await trio.sleep(95)
        await peer.say_every(1, "trade btc 1")

    scene.script(script)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(scene.live, message_timeout_secs=1000), make_connection())
        await trio.sleep(91)
        assert scene.session is not None
        reasons = [scene.session.handover_reason]
        await trio.sleep(10)
        reasons.append(scene.session.handover_reason)
        scene.stop.set()
    assert [reason is None for reason in reasons] == [False, True]


async def test_silence_counts_from_the_handshake(autojump_clock: MockClock, scene: Scene) -> None:
    """The time that it took to connect is not the silence of a topic."""

    async def answer(stream: trio.abc.Stream) -> None:
        await trio.sleep(9)
        await _shake_hands(stream)
        await trio.sleep_forever()

    scene.answer(answer)
    waited_s = await scene.wait_relief(make_connection(sends_acks=False), message_timeout_secs=1000)
    assert waited_s == 9 + 90


async def test_one_silent_topic_does_not_end_the_session(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """A topic that is silent among others is reported once and left alone."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        with trio.move_on_after(1000):
            await peer.say_every(10, "trade btc 1")
        await peer.vanish()

    scene.script(script)
    ending = await scene.live(make_connection("trade btc", "trade eth"))
    assert ending.reason == EndReason.STREAM_ENDED
    stale = [b.stream.symbol for row, b in _with_batches(scene.take()) if row["event"] == "stale"]
    assert stale == ["eth"]


async def test_a_dead_connection(autojump_clock: MockClock, scene: Scene) -> None:
    """A connection without a byte for `message_timeout_secs` ends; the ledger has its latest one."""

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1")
        await trio.sleep(10)
        await peer.stream.send_all(b"\x81")  # half a header is a byte

    scene.script(script)
    ending = await scene.live(make_connection())
    assert (ending.reason, ending.detail) == (EndReason.DEAD_TIMEOUT, "no byte for 30 s")
    assert elapsed_s() == 10 + DEAD_S
    assert ledger(scene.take())[-1]["latest_us"] == START_US + 10_000_000


async def test_pings_of_the_exchange_keep_a_quiet_connection(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """Any frame is a sign of life: a quiet market is not dead while its exchange pings."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        for _ in range(10):
            await trio.sleep(20)
            await peer.websocket.ping()  # returns when it is answered
        await peer.vanish()

    scene.script(script)
    ending = await scene.live(make_connection(data_timeout_s=1000))
    assert ending.reason == EndReason.STREAM_ENDED
    assert elapsed_s() == 200


# Keepalive.


async def test_a_text_ping_fills_silence(autojump_clock: MockClock, scene: Scene) -> None:
    """A ping that is for idle connections is sent after so much silence, and not while data comes."""
    pings: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.grant()
        with trio.move_on_after(100):
            await peer.say_every(19, "trade btc 1")
        while len(pings) < 3:
            assert await peer.hear() == "ping"
            pings.append(elapsed_s())
            await peer.say("pong")
        await peer.vanish()

    scene.script(script)
    keepalive = Keepalive("text", 20, "ping", is_idle_only=True)
    await scene.live(make_connection(keepalive=keepalive))
    assert pings == [115, 135, 155]  # the latest trade came at 95


async def test_an_unanswered_ping(autojump_clock: MockClock, scene: Scene) -> None:
    """A ping without a pong ends the session if nothing else came, either."""

    async def answer(stream: trio.abc.Stream) -> None:
        await _shake_hands(stream)
        await trio.sleep_forever()

    scene.answer(answer)
    keepalive = Keepalive("frame", 20)
    connection = make_connection(keepalive=keepalive, sends_acks=False, data_timeout_s=1000)
    ending = await scene.live(connection, message_timeout_secs=120)
    assert ending.reason == EndReason.PING_FAILED
    assert elapsed_s() == 40


async def _shake_hands(stream: trio.abc.Stream) -> bytes:
    """Grant an upgrade by hand; return what the client sent behind its request."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive_some()
    head, _, rest = received.partition(b"\r\n\r\n")
    key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return rest


# Ends by what the exchange does.


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [
        (1001, "going away", EndReason.CLOSE_FRAME),
        (4004, "no data", EndReason.CLOSE_FRAME),
        (1000, None, EndReason.CLOSE_FRAME),
    ],
)
async def test_a_goodbye_is_kept(
    autojump_clock: MockClock,
    scene: Scene,
    code: int,
    words: str | None,
    reason: str,
) -> None:
    """The code and the words of a close frame reach the end and the ledger."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        await peer.websocket.aclose(code, words)

    scene.script(script)
    ending = await scene.live(make_connection())
    assert (ending.reason, ending.code) == (reason, code)
    row = ledger(scene.take())[-1]
    assert (row["reason"], row["code"]) == (reason, code)
    assert words is None or words in row["detail"]


@pytest.mark.parametrize("end", [Peer.vanish, Peer.tear])
async def test_a_connection_that_breaks(
    autojump_clock: MockClock, scene: Scene, end: Script
) -> None:
    """A connection that ends without a goodbye is `stream_ended`; what came before it is kept."""

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1")
        await end(peer)

    scene.script(script)
    ending = await scene.live(make_connection())
    assert (ending.reason, ending.code) == (EndReason.STREAM_ENDED, None)
    assert frames(scene.take(), DataType.TRADE) == [b"trade btc 1"]


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [(1, b"x" * (MESSAGE_BYTES + 1), 1009), (3, b"", 1002), (1, b"\xff", 1007)],
)
async def test_what_is_no_websocket(
    autojump_clock: MockClock,
    scene: Scene,
    opcode: int,
    payload: bytes,
    code: int,
) -> None:
    """Too much in one message, and frames that are none, are protocol errors with their code."""

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1")
        await peer.stream.send_all(server_frame(payload, opcode))

    scene.script(script)
    ending = await scene.live(make_connection())
    assert (ending.reason, ending.code) == (EndReason.PROTOCOL_ERROR, code)
    assert frames(scene.take(), DataType.TRADE) == [b"trade btc 1"]


async def test_an_announced_end(autojump_clock: MockClock, scene: Scene) -> None:
    """When the exchange says that it will leave, the session goes on, and asks to be relieved; when
    it is, it leaves with a goodbye.
    """

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1", "bye at noon", "trade btc 2")

    scene.script(script)
    await scene.wait_relief(make_connection())
    await wait_all_tasks_blocked()
    assert frames(scene.take(), DataType.TRADE) == [b"trade btc 1", b"trade btc 2"]
    assert scene.peers[0].websocket.closed is not None
    assert scene.peers[0].websocket.closed.code == 1000


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999])
async def test_the_age_of_sessions_is_spread(
    autojump_clock: MockClock, scene: Scene, dice: float
) -> None:
    """A session asks for relief before the exchange's limit, and others at other times."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        await peer.say_every(20, "trade btc 1")

    scene.script(script)
    scene.dice = dice
    planned_s = (7200 - AGE_MARGIN_S) * (1 - AGE_SPREAD * dice)
    assert await scene.wait_relief(make_connection(max_session_s=7200)) == pytest.approx(planned_s)


async def test_a_short_life_has_a_short_margin(autojump_clock: MockClock, scene: Scene) -> None:
    """An exchange that ends connections after minutes is left within these."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        await peer.say_every(20, "trade btc 1")

    scene.script(script)
    scene.dice = 0.0
    assert await scene.wait_relief(make_connection(max_session_s=300)) == pytest.approx(150)


# Handshakes that fail.


def _http(status: bytes, *headers: bytes) -> Answer:
    """Return a server that answers every request so."""

    async def answer(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        lines = (b"HTTP/1.1 " + status, *headers, b"Content-Length: 0", b"", b"")
        await stream.send_all(b"\r\n".join(lines))
        await trio.sleep_forever()

    return answer


async def test_a_blocked_country(autojump_clock: MockClock, scene: Scene) -> None:
    """451 ends the session with its meaning and with the address to try; the ledger has it."""
    scene.answer(_http(b"451 Unavailable For Legal Reasons"))
    ending = await scene.live(make_connection(fallback_url="wss://other.test"))
    assert (ending.reason, ending.code) == (EndReason.REJECTED_HANDSHAKE, 451)
    assert "not served in this country; try base_url = 'wss://other.test'" in ending.detail
    (row,) = ledger(scene.take())
    assert (row["event"], row["reason"]) == ("disconnected", "rejected_handshake")
    assert row["latest_us"] is None


async def test_too_many_requests(autojump_clock: MockClock, scene: Scene) -> None:
    """429 carries how long the exchange wants to be left alone."""
    scene.answer(_http(b"429 Too Many Requests", b"Retry-After: 77"))
    ending = await scene.live(make_connection())
    assert (ending.reason, ending.retry_after_s) == (EndReason.REJECTED_HANDSHAKE, 77)


async def test_a_silent_handshake(autojump_clock: MockClock, scene: Scene) -> None:
    """An exchange that accepts the connection and says nothing is given up after ten seconds."""

    async def answer(_stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    scene.answer(answer)
    ending = await scene.live(make_connection())
    assert ending.reason == EndReason.CONNECT_FAILED
    assert ending.detail == "no WebSocket at ws://exchange.test/feed within 10 s"
    assert elapsed_s() == CONNECT_S


@pytest.mark.parametrize(
    "garbage", [b"220 mail.test ESMTP\r\n\r\n", b"\x00" * 64, b"HTTP/1.1 banana\r\n\r\n"]
)
async def test_garbage_instead_of_http(
    autojump_clock: MockClock, scene: Scene, garbage: bytes
) -> None:
    """A peer that speaks something else is a protocol error, and no bug."""

    async def answer(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(garbage)
        await stream.aclose()

    scene.answer(answer)
    ending = await scene.live(make_connection())
    assert ending.reason == EndReason.PROTOCOL_ERROR


async def test_a_connection_that_cannot_be_made(
    autojump_clock: MockClock,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the way to the exchange says is the end; rows of the ledger say so, too."""

    async def refuse(_url: str, _ssl_context: ssl.SSLContext) -> trio.abc.Stream:
        raise SessionEnded(EndReason.TLS_ERROR, "exchange.test: certificate expired")

    monkeypatch.setattr(scene, "connect", refuse)
    ending = await scene.live(make_connection())
    assert (ending.reason, ending.detail) == (
        EndReason.TLS_ERROR,
        "exchange.test: certificate expired",
    )
    assert told(scene.take()) == ["disconnected"]


# Frames that cannot be read.


async def test_unreadable_frames_are_kept_and_told(autojump_clock: MockClock, scene: Scene) -> None:
    """They are rows with their bytes, counted, and logged once for each kind; the session lives."""
    counter = metrics.unparsed.labels("scripted")
    before = metrics.total(counter)

    async def script(peer: Peer) -> None:
        await peer.grant("?", "trade btc 1", "??")
        await peer.say("odd ticker", "odd ticker")
        await peer.vanish()

    scene.script(script)
    with capture_logs() as entries:
        await scene.live(make_connection())
    batches = scene.take()
    assert frames(batches, DataType.UNPARSED) == [b"?", b"??", b"odd ticker", b"odd ticker"]
    assert frames(batches, DataType.TRADE) == [b"trade btc 1"]
    assert metrics.total(counter) == before + 2
    kinds = [entry["kind"] for entry in entries if entry["event"] == "message kept as unparsed"]
    assert kinds == ["unreadable: not a word", "ticker"]


async def test_too_many_unreadable_frames(autojump_clock: MockClock, scene: Scene) -> None:
    """A session that is mostly made of them ends; every one of them is kept."""

    async def script(peer: Peer) -> None:
        await peer.grant(*["?"] * 150)

    scene.script(script)
    ending = await scene.live(make_connection())
    assert ending.reason == EndReason.BREAKER
    batches = scene.take()
    assert len(frames(batches, DataType.UNPARSED)) >= 99  # the ack was the first of a hundred
    assert [event for event in told(batches) if event == "breaker"] == ["breaker"]


async def test_a_hole_is_told(autojump_clock: MockClock, scene: Scene) -> None:
    """Ids that leave something out are a `gap` row and a count, before the row behind the hole."""
    counter = metrics.gaps.labels("scripted", "btc", "trade")
    before = metrics.total(counter)

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1")
        await trio.sleep(1)
        await peer.say("trade btc 5")
        await peer.vanish()

    scene.script(script)
    await scene.live(make_connection())
    batches = scene.take()
    (gap,) = [row for row in ledger(batches) if row["event"] == "gap"]
    assert (gap["expected"], gap["got"], gap["missing"]) == (1, 4, 3)
    assert metrics.total(counter) == before + 1
    assert frames(batches, DataType.TRADE) == [b"trade btc 1", b"trade btc 5"]


# Bugs, stops and cancellation.


async def test_a_bug_ends_one_session_and_loses_no_frame(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """A bug in the adapter ends the session as `bug`, with a traceback; its frames are kept."""

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1")
        await trio.sleep(1)
        sent = (b"trade btc 2", b"bug", b"trade btc 3")
        await peer.stream.send_all(b"".join(map(server_frame, sent)))

    scene.script(script)
    with capture_logs() as entries:
        ending = await scene.live(make_connection())
    assert (ending.reason, ending.detail) == (EndReason.BUG, "KeyError('a bug in the adapter')")
    (entry,) = [entry for entry in entries if entry["event"] == "bug in a session"]
    assert (entry["log_level"], entry["exc_info"]) == ("error", True)
    batches = scene.take()
    kept = frames(batches, DataType.TRADE) + frames(batches, DataType.UNPARSED)
    assert kept == [b"trade btc 1", b"trade btc 2", b"bug", b"trade btc 3"]


async def test_a_bug_loses_no_frame_beside_it(
    autojump_clock: MockClock,
    scene: Scene,
    nursery: trio.Nursery,
) -> None:
    """Rows that wait for room when the bug comes are sent; what came with it is kept as it came."""
    await scene.budget.acquire(BUDGET_BYTES)

    async def script(peer: Peer) -> None:
        await peer.hear()
        for text in ("ack 1", "trade btc 1"):
            await peer.say(text)
            await wait_all_tasks_blocked()  # so each is a read of its own
        await peer.stream.send_all(server_frame(b"bug") + server_frame(b"trade btc 2"))

    async def make_room() -> None:
        await trio.sleep(5)
        scene.budget.release(BUDGET_BYTES)

    scene.script(script)
    nursery.start_soon(make_room)
    with capture_logs():
        ending = await scene.live(make_connection())
    assert ending.reason == EndReason.BUG
    batches = scene.take()
    assert frames(batches, DataType.TRADE) == [b"trade btc 1"]
    assert frames(batches, DataType.UNPARSED) == [b"bug", b"trade btc 2"]


async def test_a_bug_leaves_other_feeds_alone(
    autojump_clock: MockClock, scene: Scene, nursery: trio.Nursery
) -> None:
    """While one feed fails again and again, another goes on in its first session."""

    async def script(peer: Peer) -> None:
        request = await peer.hear()
        await peer.say("ack 1")
        await peer.say_every(1, "bug" if "btc" in request else "trade eth 1")

    scene.script(script)
    context = scene.context()
    with capture_logs():
        for topic in ("trade btc", "trade eth"):
            nursery.start_soon(run_feed, make_connection(topic), context, scene.to_writer.clone())
        await trio.sleep(100.5)
        scene.stop.set()
        await wait_all_tasks_blocked()
    batches = scene.take()
    rows = [(b.stream.symbol, row) for row, b in _with_batches(batches)]
    ends = [(symbol, row["reason"]) for symbol, row in rows if "reason" in row]
    assert ends.count(("btc", "bug")) > 2
    assert [end for end in ends if end[0] == "eth"] == [("eth", "stopped")]
    assert len(frames(batches, DataType.TRADE)) == 101


@pytest.mark.parametrize("sent", [3, 3 * READS_WAITING])
async def test_a_stop_keeps_all_that_was_read(
    autojump_clock: MockClock,
    scene: Scene,
    nursery: trio.Nursery,
    sent: int,
) -> None:
    """Told to stop while the writer is slow and the budget spent, a session sends all it has read."""

    async def script(peer: Peer) -> None:
        await peer.grant()
        for number in range(sent):
            await peer.say(f"trade btc {number}")
            await wait_all_tasks_blocked()  # so each is a read of its own

    scene.script(script)
    await scene.budget.acquire(BUDGET_BYTES)
    ended = trio.Event()

    async def live() -> None:
        ending = await scene.live(make_connection(), message_timeout_secs=1000)
        assert ending.reason == EndReason.STOPPED
        ended.set()

    nursery.start_soon(live)
    await trio.sleep(5)
    scene.stop.set()
    await trio.sleep(5)
    assert not ended.is_set()
    assert scene.wires[0].is_closed  # the exchange need not wait for the disk
    scene.budget.release(BUDGET_BYTES)
    await ended.wait()
    batches = scene.take()
    kept = frames(batches, DataType.TRADE)
    assert kept == [f"trade btc {number}".encode() for number in range(len(kept))]
    # One is in the writer's hands, so many wait, and one found no room; the rest was not read.
    assert len(kept) == min(sent, READS_WAITING + 1)
    assert told(batches)[-1] == "stopped"
    assert _status(batches)[-1].received_us == START_US + 5_000_000


async def test_the_first_reason_stands(
    autojump_clock: MockClock,
    scene: Scene,
    nursery: trio.Nursery,
) -> None:
    """What turns up while the last reads are sent does not change why the session ended."""
    await scene.budget.acquire(BUDGET_BYTES)

    async def script(peer: Peer) -> None:
        await peer.grant("bye now")

    async def stop() -> None:
        await trio.sleep(5)
        scene.stop.set()
        await trio.sleep(5)
        scene.budget.release(BUDGET_BYTES)

    scene.script(script)
    nursery.start_soon(stop)
    assert (await scene.live(make_connection())).reason == EndReason.STOPPED


async def test_a_slow_writer_is_not_the_exchanges_silence(
    autojump_clock: MockClock, scene: Scene, nursery: trio.Nursery
) -> None:
    """While rows wait for room neither silence nor a missing ack or pong ends the session."""
    await scene.budget.acquire(BUDGET_BYTES)
    seen: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.hear()
        await peer.say(*["beat; odd ticker"] * 100)
        await trio.sleep(500)
        await peer.say("ack 1")
        await trio.sleep(20)
        seen.append(elapsed_s())
        await peer.vanish()

    async def relieve() -> None:
        await trio.sleep(500)
        scene.budget.release(BUDGET_BYTES)

    scene.script(script)
    nursery.start_soon(relieve)
    ending = await scene.live(make_connection(keepalive=Keepalive("frame", 20)))
    assert ending.reason == EndReason.STREAM_ENDED
    assert seen == [520]


async def test_being_cancelled_closes_the_connection(
    autojump_clock: MockClock, scene: Scene, nursery: trio.Nursery
) -> None:
    """Cancelled from outside, a session leaves no socket open and no byte in the budget."""

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1")

    scene.script(script)
    scene.to_writer, scene.batches = trio.open_memory_channel[Batch](0)
    with trio.move_on_after(5) as scope:
        await scene.live(make_connection())
    assert scope.cancelled_caught
    assert scene.wires[0].is_closed
    assert scene.budget.used_bytes == 0


@pytest.mark.parametrize("delay_s", [1, 20])
async def test_being_cancelled_while_connecting(
    autojump_clock: MockClock, scene: Scene, delay_s: float
) -> None:
    """Cancelled during the handshake, or later, the end of the connection is no other's."""

    async def answer(stream: trio.abc.Stream) -> None:
        await trio.sleep(5)
        await _shake_hands(stream)
        await trio.sleep_forever()

    scene.answer(answer)
    with trio.move_on_after(delay_s) as scope:
        await scene.live(make_connection(sends_acks=False))
    assert scope.cancelled_caught
    assert scene.wires[0].is_closed


async def test_a_bug_while_being_cancelled(
    autojump_clock: MockClock,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug that shows when everything is cancelled is logged, and cancels nothing else."""

    async def connect(_url: str, _ssl_context: ssl.SSLContext) -> trio.abc.Stream:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("bug")

    monkeypatch.setattr(scene, "connect", connect)
    with capture_logs() as entries, trio.move_on_after(1) as scope:
        await scene.live(make_connection())
    assert scope.cancelled_caught
    assert [entry["event"] for entry in entries] == ["bug in a session"]


@pytest.mark.parametrize("how", ["stop", "cancel", "goodbye", "bug"])
async def test_real_sockets_are_closed(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    nursery: trio.Nursery,
    how: str,
) -> None:
    """Over TCP no socket is left for the garbage collector, whichever way a session is left."""
    sockets: list[trio.SocketStream] = []

    async def serve(stream: trio.abc.Stream) -> None:
        await scene.serve(stream, Wire(stream))

    async def connect(_url: str, _ssl_context: ssl.SSLContext) -> trio.abc.Stream:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        sockets.append(await trio.testing.open_stream_to_socket_listener(listener))
        return sockets[-1]

    async def script(peer: Peer) -> None:
        await peer.grant("trade btc 1")
        match how:
            case "stop":
                scene.stop.set()
            case "cancel":
                scope.cancel()
            case "goodbye":
                await peer.websocket.aclose()
            case "bug":
                await peer.say("bug")

    scene.script(script)
    monkeypatch.setattr(scene, "connect", connect)
    with capture_logs(), trio.fail_after(10), trio.CancelScope() as scope:
        await scene.live(make_connection())
    assert scope.cancelled_caught == (how == "cancel")
    assert [stream.socket.fileno() for stream in sockets] == [-1]
    nursery.cancel_scope.cancel()
