import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Message, Ping

from trio_collector.simulator.net.frames import Opcode, close_frame, head, plain_symbol


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_heads_are_what_wsproto_reads(length: int) -> None:
    """A head and its payload are one whole message to an independent client."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(head(Opcode.BINARY, length) + b"x" * length)
    (event,) = client.events()
    assert isinstance(event, Message)
    assert event.message_finished
    assert bytes(event.data) == b"x" * length


def test_control_frames() -> None:
    """Pings and close frames are read as such."""
    client = Connection(ConnectionType.CLIENT)
    closing = close_frame(1008, "Pong timeout")
    client.receive_data(head(Opcode.PING, 2) + b"42")
    client.receive_data(head(closing.opcode, len(closing.payload)) + closing.payload)
    assert list(client.events()) == [Ping(b"42"), CloseConnection(1008, "Pong timeout")]


def test_plain_symbols() -> None:
    """Symbols are recorded in lower case without separators."""
    names = [plain_symbol(name) for name in ("BTC-USD", "BTC_KRW", "BTC/USDT", "BTCUSDT")]
    assert names == ["btcusd", "btckrw", "btcusdt", "btcusdt"]
