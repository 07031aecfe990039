import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trio_collector.simulator.faults.action import Action, ActionKind, Item
from trio_collector.simulator.net.connection_end import Stream
from trio_collector.simulator.net.frames import (
    Fate,
    Frame,
    Opcode,
    StreamKey,
    close_frame,
    head,
    lost,
)
from trio_collector.simulator.net.outbox import Outbox
from trio_collector.simulator.net.tls import create_identity
from trio_collector.simulator.record import SentRecord

TRADES = StreamKey("okx", "btcusdt", "trade")
PATIENCE_BYTES = 100_000_000


def make_frames(count: int, size: int = 100) -> list[Frame]:
    return [Frame(f"{number:0{size}d}".encode(), (TRADES,)) for number in range(count)]


@contextlib.asynccontextmanager
async def open_socket_pair(*, is_tls: bool) -> AsyncIterator[tuple[Stream, Stream]]:
    """Open both ends of a connection on this machine: the simulator's, the client's."""
    near, far = trio.socket.socketpair()
    server, client = trio.SocketStream(near), trio.SocketStream(far)
    async with server, client:
        if not is_tls:
            yield server, client
            return
        identity = create_identity()
        trusting = ssl.create_default_context(cadata=identity.ca_pem.decode())
        secure_server = trio.SSLStream(
            server, identity.context, server_side=True, https_compatible=True
        )
        secure_client = trio.SSLStream(
            client, trusting, server_hostname="localhost", https_compatible=True
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(secure_server.do_handshake)
            nursery.start_soon(secure_client.do_handshake)
        yield secure_server, secure_client


def wire(frames: list[Frame]) -> bytes:
    return b"".join(head(frame.opcode, len(frame.payload)) + frame.payload for frame in frames)


def count_whole(data: bytes, frames: list[Frame]) -> int:
    """Return how many of `frames` are whole in `data`."""
    assert wire(frames).startswith(data)
    return len(data) // len(wire(frames[:1]))  # they are all of one size


async def read_to_end(stream: Stream) -> bytes:
    data = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for part in stream:
            data += part
    return data


@pytest.mark.parametrize("is_tls", [False, True])
async def test_what_was_sent_is_recorded_in_order(is_tls: bool) -> None:
    """Once the outbox is empty, the client can read just what the record holds."""
    sent = SentRecord(is_recording=True)
    frames = make_frames(1_000)
    async with open_socket_pair(is_tls=is_tls) as (server, client), trio.open_nursery() as nursery:
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        nursery.start_soon(outbox.run)
        outbox.put(frames[:600])
        outbox.put(frames[600:])
        data = b""
        while len(data) < len(wire(frames)):
            data += await client.receive_some()
        await outbox.wait_empty()
        nursery.cancel_scope.cancel()
    assert data == wire(frames)
    assert sent.frames[TRADES] == [frame.payload for frame in frames]


async def cut_halfway(outbox: Outbox) -> None:
    """Let `outbox` write until the kernel takes no more, and cancel it there."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_frame_cut_in_two_is_not_sent(is_tls: bool) -> None:
    """A send that is cancelled halfway leaves a record of the frames that left whole, no more."""
    sent = SentRecord(is_recording=True)
    frames = make_frames(20_000)  # more than the kernel takes without a reader
    async with open_socket_pair(is_tls=is_tls) as (server, client):
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        outbox.put(frames)
        await cut_halfway(outbox)
        transport = server.transport_stream if isinstance(server, trio.SSLStream) else server
        await transport.aclose()
        received = count_whole(await read_to_end(client), frames)
    assert 0 < received < len(frames)
    assert sent.counts[TRADES] == received


async def test_a_client_that_leaves_ends_the_connection() -> None:
    """A broken socket cancels the connection's scope; who waits for emptiness is released."""
    sent = SentRecord()
    async with open_socket_pair(is_tls=False) as (server, client):
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        await client.aclose()
        outbox.put(make_frames(10))
        await outbox.run()
        await outbox.wait_empty()
    assert outbox.scope.cancel_called
    assert not sent.counts


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    """When more is unread than allowed, the scope is cancelled; what is recorded was sent."""
    sent = SentRecord()
    async with open_socket_pair(is_tls=False) as (server, client):
        outbox = Outbox(server, "okx", sent, max_queue_bytes=1_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run)
            while not outbox.scope.cancel_called:
                outbox.put(make_frames(1_000))
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await server.aclose()
        received = len(await read_to_end(client)) // len(wire(make_frames(1)))
    assert sent.counts[TRADES] == received > 0


async def test_nothing_leaves_after_a_close_frame() -> None:
    """The task ends with the close frame; what is put later is forgotten."""
    sent = SentRecord(is_recording=True)
    async with open_socket_pair(is_tls=False) as (server, client):
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        outbox.put([*make_frames(1), close_frame(1000)])
        await outbox.run()
        outbox.put(make_frames(5))
        await outbox.wait_empty()
        await server.aclose()
        data = await read_to_end(client)
    assert data == wire([*make_frames(1), close_frame(1000)])
    assert data[-4:] == bytes((0x80 | Opcode.CLOSE, 2)) + (1000).to_bytes(2, "big")
    assert sent.counts == {TRADES: 1}


def fates(sent: SentRecord) -> list[tuple[bytes, Fate]]:
    return [(entry.payload[-1:], entry.fate) for entry in sent.entries]


async def test_acts_are_done_in_their_place() -> None:
    """Raw bytes go out between the frames, and the record knows nothing of them."""
    sent = SentRecord(is_recording=True)
    first, second = make_frames(2)
    async with open_socket_pair(is_tls=False) as (server, client):
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES, connection=9)
        outbox.put_scripted(
            [first, Action(ActionKind.SEND, payload=b"raw"), lost(second), close_frame(1000)]
        )
        await outbox.run()
        await server.aclose()
        data = await read_to_end(client)
    assert data == wire([first]) + b"raw" + wire([close_frame(1000)])
    assert fates(sent) == [(b"0", Fate.SENT), (b"1", Fate.LOST)]
    assert {entry.connection for entry in sent.entries} == {9}


@pytest.mark.parametrize("is_tls", [False, True])
async def test_what_is_left_at_the_end_is_unsent(is_tls: bool) -> None:
    """Every frame has a fate: behind a close frame, in the queue, and put too late."""
    sent = SentRecord(is_recording=True)
    first, second, third, fourth = make_frames(4)
    async with open_socket_pair(is_tls=is_tls) as (server, _client):
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        outbox.put_scripted([first, close_frame(1000), second])
        outbox.put_scripted([third])
        await outbox.run()
        outbox.put([fourth])
    unsent = [(number, Fate.UNSENT) for number in (b"1", b"2", b"3")]
    assert fates(sent) == [(b"0", Fate.SENT), *unsent]


async def test_a_write_that_is_cut_leaves_unsent_frames() -> None:
    """Sent and unsent are all that was put, when a stall or a full kernel is cut short."""
    sent = SentRecord(is_recording=True)
    frames = make_frames(20_000)
    async with open_socket_pair(is_tls=False) as (server, _client):
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        outbox.put(frames)
        await cut_halfway(outbox)
    assert [entry.payload for entry in sent.entries] == [frame.payload for frame in frames]
    unsent = [entry.fate is Fate.UNSENT for entry in sent.entries]
    assert unsent == sorted(unsent)
    assert any(unsent)


async def test_swallowing_leaves_the_socket_open() -> None:
    """Nothing is sent any more, frames are unsent, and the task goes on."""
    sent = SentRecord(is_recording=True)
    first, second = make_frames(2)
    async with open_socket_pair(is_tls=False) as (server, client), trio.open_nursery() as nursery:
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        nursery.start_soon(outbox.run)
        outbox.put_scripted(
            [first, Action(ActionKind.DISCARD), second, Action(ActionKind.SEND, payload=b"raw")]
        )
        outbox.put([close_frame(1000)])
        await outbox.wait_empty()
        assert await client.receive_some() == wire([first])
        assert not outbox.scope.cancel_called
        nursery.cancel_scope.cancel()
    assert fates(sent) == [(b"0", Fate.SENT), (b"1", Fate.UNSENT)]


async def test_a_drip_is_byte_by_byte(autojump_clock: trio.testing.MockClock) -> None:
    """Each byte takes its time, until the drip ends."""
    frames = make_frames(2)
    async with open_socket_pair(is_tls=False) as (server, client):
        outbox = Outbox(server, "okx", SentRecord(), PATIENCE_BYTES)
        drip: list[Item] = [
            Action(ActionKind.DRIP, 1.0),
            frames[0],
            Action(ActionKind.DRIP),
            frames[1],
            close_frame(1000),
        ]
        outbox.put_scripted(drip)
        await outbox.run()
        assert trio.current_time() == len(wire(frames[:1]))
        await server.aclose()
        assert await read_to_end(client) == wire([*frames, close_frame(1000)])


async def test_a_reset_takes_nothing_back() -> None:
    """All that is recorded as sent is read before the error, however much it is."""
    sent = SentRecord(is_recording=True)
    frames = make_frames(3_000)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.testing.open_stream_to_socket_listener(listener)
    server = await listener.accept()
    async with listener, client:
        outbox = Outbox(server, "okx", sent, PATIENCE_BYTES)
        outbox.put_scripted([*frames, Action(ActionKind.RESET)])
        data = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_scope, outbox, server)
            with pytest.raises(trio.BrokenResourceError) as caught:
                await read_into(data, client)
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert data == wire(frames)
    assert len(sent.entries) == len(frames)


async def read_into(data: bytearray, client: trio.SocketStream) -> None:
    """Read slowly, for ever."""
    while part := await client.receive_some(1_000):
        data += part


async def run_scope(outbox: Outbox, server: Stream) -> None:
    """Run an outbox until it cannot go on, and close the socket, as a connection does."""
    with outbox.scope:
        await outbox.run()
    await trio.aclose_forcefully(server)
