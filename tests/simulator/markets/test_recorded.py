from collections.abc import Callable
from pathlib import Path

import pytest

from trio_collector.simulator import Simulation
from trio_collector.simulator.conversation import Conversation
from trio_collector.simulator.markets.recorded import DELAY_MS, recorded_stream
from trio_collector.simulator.net.frames import Frame, Opcode

SUBSCRIBE = '{"id":"a1","op":"subscribe","args":[{"channel":"books","instId":"X-USDT"}]}'
Write = Callable[[str, bytes], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: bytes) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    return write


def listen(captures: Path, target: str, message: str) -> list[Frame]:
    conversation = Conversation(target, Simulation(captures=captures))
    acks = conversation.say(message)
    return acks + conversation.wait(int(DELAY_MS) + 40)


def test_every_line_is_sent_once_after_the_ack(tmp_path: Path, write: Write) -> None:
    """Files are sent by name, lines as they are, acks of the recording too."""
    write("okx/b.jsonl", b'{"b":1}\n')
    write("okx/a.jsonl", b'{"event":"subscribe","arg":{}}\n{"a":  1.0}\n\n{"a":2}')
    ack, *lines = listen(tmp_path, "/okx/ws/v5/public", SUBSCRIBE)
    assert b'"event":"subscribe"' in ack.payload
    assert [frame.payload for frame in lines] == [
        b'{"event":"subscribe","arg":{}}', b'{"a":  1.0}', b'{"a":2}', b'{"b":1}',
    ]  # fmt: skip
    assert {frame.streams for frame in lines} == {(recorded_stream("okx"),)}


def test_what_no_subscriber_was_sent_is_left_out(tmp_path: Path, write: Write) -> None:
    """Sent messages, documents' examples, REST bodies, errors and notices stay away."""
    for name in ("s.sent.jsonl", "docs_x.jsonl", "rest_x.jsonl", "errors.jsonl", "x.txt"):
        write(f"okx/{name}", b'{"no":1}\n')
    write("okx/session.jsonl", b'{"event":"error","code":"1"}\n{"event":"notice"}\n{"yes":1}\n')
    _ack, *lines = listen(tmp_path, "/okx/ws/v5/public", SUBSCRIBE)
    assert [frame.payload for frame in lines] == [b'{"yes":1}']


def test_upbit_lines_are_binary(tmp_path: Path, write: Write) -> None:
    """Upbit sends binary frames, recorded ones too."""
    write("upbit/session.jsonl", b'{"ty":"trade"}\n')
    request = '[{"ticket":"x"},{"type":"trade","codes":["KRW-BTC"]}]'
    (line,) = listen(tmp_path, "/upbit/websocket/v1", request)
    assert line.opcode is Opcode.BINARY


def test_later_connections_get_nothing(tmp_path: Path, write: Write) -> None:
    """The recording is sent once; later clients are acked and get no data."""
    write("okx/session.jsonl", b'{"a":1}\n')
    first = Conversation("/okx/ws/v5/public", Simulation(captures=tmp_path))
    second = Conversation("/okx/ws/v5/public", exchange=first.exchange)
    first.say(SUBSCRIBE)
    assert len(second.say(SUBSCRIBE)) == 1
    assert len(first.wait(1_000)) == 1
    assert second.wait(1_000) == []
