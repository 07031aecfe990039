"""How many frames a second: the splitter alone, and a connection through FrameStream.

    python -m tests.bench.bench_frames

A server process sends one connection pre-built frames over loopback as fast as they are taken: 125
bytes as a trade has, and 1.4 kB as a book of 20 levels. Beside FrameStream with trio-websocket the
same bytes go through trio-websocket alone, by `get_message()`. CPU is that of the client, user and
system, so that the figures hold where server and client share a core.
"""

import multiprocessing
import socket
import ssl
import time
from collections.abc import Awaitable, Callable

import trio
import trio_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection

from trio_collector.clock import now_us
from trio_collector.feed.wire.connect import connect_stream
from trio_collector.feed.wire.frames import FrameSplitter
from trio_collector.feed.wire.transport import READ_BYTES, Read, open_websocket

SIZES = (125, 1400)
LIMIT = 1 << 24
SECONDS = 4.0

Receive = Callable[[str, float], Awaitable[int]]


def build_frame(size: int) -> bytes:
    length = bytes([size]) if size <= 125 else b"\x7e" + size.to_bytes(2, "big")
    return b"\x81" + length + b"x" * size


def build_blob(size: int) -> bytes:
    frame = build_frame(size)
    return frame * ((1 << 22) // len(frame))


def measure_splitter(size: int, read_bytes: int) -> float:
    """Return frames/s of the splitter: the best of five runs over 32 MiB."""
    blob = build_blob(size)
    reads = [blob[at : at + read_bytes] for at in range(0, len(blob), read_bytes)] * 8
    best = 0.0
    for _ in range(5):
        splitter = FrameSplitter(LIMIT)
        splitter.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        started = time.perf_counter()
        frames = sum(len(splitter.feed(read)[0]) for read in reads)
        best = max(best, frames / (time.perf_counter() - started))
    return best


def serve(listener: socket.socket, size: int) -> None:
    """Shake hands with each client in turn, and send it frames until it leaves."""
    blob = build_blob(size)
    while True:
        client, _ = listener.accept()
        with client:
            server = WSConnection(ConnectionType.SERVER)
            server.receive_data(client.recv(65_536))
            list(server.events())
            client.sendall(server.send(AcceptConnection()))
            try:
                while True:
                    client.sendall(blob)
            except OSError:
                continue


async def receive_batches(url: str, seconds: float) -> int:
    """Return how many frames came through FrameStream."""
    stream = await connect_stream(url, ssl.create_default_context())
    count = 0

    def take(read: Read) -> None:
        nonlocal count
        count += len(read.frames)

    async with trio.open_nursery() as nursery:
        await open_websocket(
            nursery,
            stream,
            url,
            take,
            trio.lowlevel.checkpoint,
            max_message_bytes=LIMIT,
            now_us=now_us,
        )
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(stream)
    return count


async def receive_messages(url: str, seconds: float) -> int:
    """Return how many messages came through trio-websocket alone, with its best settings."""
    count = 0
    async with trio.open_nursery() as nursery:
        websocket = await trio_websocket.connect_websocket_url(
            nursery, url, message_queue_size=1000, receive_buffer_size=READ_BYTES
        )
        with trio.move_on_after(seconds):
            while True:
                await websocket.get_message()
                count += 1
        nursery.cancel_scope.cancel()
    return count


def measure(receive: Receive, url: str) -> tuple[float, float]:
    """Return frames/s, and µs of CPU per frame."""
    started, cpu = time.perf_counter(), time.process_time()
    count = trio.run(receive, url, SECONDS)
    elapsed, used = time.perf_counter() - started, time.process_time() - cpu
    return count / elapsed, used / count * 1e6


def main() -> None:
    for size in SIZES:
        for read_bytes in (READ_BYTES, 16_384):
            rate = measure_splitter(size, read_bytes)
            print(f"{size:5} B  splitter, reads of {read_bytes:6} B  {rate:12,.0f} frames/s")
    for size in SIZES:
        listener = socket.create_server(("127.0.0.1", 0))
        server = multiprocessing.Process(target=serve, args=(listener, size), daemon=True)
        server.start()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        for name, receive in (("FrameStream", receive_batches), ("get_message", receive_messages)):
            rate, cpu_us = measure(receive, url)
            print(f"{size:5} B  {name}  {rate:12,.0f} frames/s  {cpu_us:8.2f} µs CPU per frame")
        server.terminate()
        server.join()
        listener.close()


if __name__ == "__main__":
    main()
