"""How fast one connection can be: from the socket to sealed Parquet, beside a bare loop.

    python -m tests.bench.firehose [--rounds N]

Another process sends frames that were built before, over loopback. The collector runs as its users
run it; the clock goes from the first byte sent until the collector has sealed everything and its
process is gone. The rate beside it is that of a trio-websocket `get_message()` loop that throws
every frame away. The two take turns, and the medians and their ratio are printed. CPU is user+sys
of the collector's process, from the first byte on.
"""

import argparse
import base64
import hashlib
import os
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

TRADES = 3_000_000
BOOKS = 400_000
UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n"
)

CLOSE = 0x88

BARE_LOOP = """
import sys, time, trio, trio_websocket
async def main(url):
    count, first = 0, None
    async with trio_websocket.open_websocket_url(url, max_message_size=2**24) as websocket:
        await websocket.send_message('{"method":"SUBSCRIBE","params":[],"id":1}')
        try:
            while True:
                await websocket.get_message()
                first = first or time.perf_counter()
                count += 1
        except trio_websocket.ConnectionClosed:
            pass
    print(count / (time.perf_counter() - first))
trio.run(main, sys.argv[1])
"""


class Load(NamedTuple):
    """Frames to send, with their headers, and what the collector is told to ask for."""

    name: str
    feed: str
    frames: list[bytes]

    @property
    def rows(self) -> int:
        return len(self.frames)


class Result(NamedTuple):
    """What one run of the collector took."""

    rows_per_s: float
    cpu_us_per_row: float
    peak_mb: float


def trade_frame(number: int) -> bytes:
    return (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1770000000000,"s":"BTCUSDT",'
        b'"t":%d,"p":"%d","q":"0.%02d","m":true}}'
        % (10**9 + number, 90_000 + number * 7919 % 9973, number * 31 % 97)
    )


def book_frame(number: int) -> bytes:
    sizes = random.Random(number)
    side = b",".join(
        b'["%d.%02d000000","0.%08d"]' % (97000 + i, i, sizes.randrange(10**8)) for i in range(20)
    )
    return (
        b'{"stream":"btcusdt@depth20@100ms","data":{"lastUpdateId":%d,"bids":[%b],"asks":[%b]}}'
        % (number + 1, side, side)
    )


def build(name: str, feed: str, frame: Callable[[int], bytes], rows: int) -> Load:
    """Return `rows` frames with the headers of a server."""
    return Load(name, feed, [framed(frame(number)) for number in range(rows)])


def framed(payload: bytes) -> bytes:
    size = len(payload)
    head = bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
    return head + payload


def accept_key(request: bytes) -> bytes:
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            digest = hashlib.sha1(value.strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            return base64.b64encode(digest)
    raise AssertionError(request)


def serve_once(listener: socket.socket, load: Load) -> float:
    """Serve one client with all of `load` and a close frame; return when the first byte left.

    Returns when the client has answered the close frame, so when it has read everything.
    """
    wire = b"".join(load.frames)
    client, _ = listener.accept()
    with client:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(65536)
        client.sendall(UPGRADE % accept_key(request))
        client.recv(65536)  # the subscription
        client.sendall(framed(b'{"result":null,"id":1}'))
        started = time.perf_counter()
        client.sendall(wire)
        client.sendall(b"\x88\x02\x03\xe8")
        while (answer := client.recv(65536)) and answer[0] != CLOSE:
            pass
    return started


def forked_server(listener: socket.socket, load: Load) -> tuple[int, int]:
    """Serve in a process of its own; return its pid and a pipe that tells when it began."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, repr(serve_once(listener, load)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def run_collector(load: Load, directory: Path) -> Result:
    listener = socket.create_server(("127.0.0.1", 0))
    config = directory / "config.toml"
    config.write_text(f"""
[storage]
mode = "local"
data_dir = "{directory}/spool"
local_path = "{directory}/archive"
max_file_bytes = 64000000
min_free_bytes = 0
[websocket]
initial_retry_delay_secs = 60
[[markets]]
exchange = "binance"
symbols = ["btcusdt"]
feeds = ["{load.feed}"]
base_url = "ws://127.0.0.1:{listener.getsockname()[1]}"
""")
    server, reader = forked_server(listener, load)
    command = [sys.executable, "-m", "trio_collector", "run", "--config", str(config)]
    collector = subprocess.Popen(command, stderr=(directory / "log").open("wb"))
    before_cpu_s = wait_for_cpu_mark(collector.pid, listener)
    started = os.read(reader, 64)  # the server ends when the client has read everything
    os.close(reader)
    os.waitpid(server, 0)
    collector.send_signal(signal.SIGTERM)
    peak_mb = watch_peak_mb(collector.pid)
    _, status, usage = os.wait4(collector.pid, 0)
    ended = time.perf_counter()
    assert status == 0, (directory / "log").read_text()
    rows = sum(
        pq.read_metadata(path).num_rows
        for path in (directory / "archive").rglob("*.parquet")
        if "status" not in path.parts
    )
    assert rows == load.rows, (rows, load.rows)
    cpu_s = usage.ru_utime + usage.ru_stime - before_cpu_s
    listener.close()
    return Result(rows / (ended - float(started)), cpu_s / rows * 1e6, peak_mb)


def watch_peak_mb(pid: int) -> float:
    """Wait for the end of the process, not reaping it; return its largest resident memory.

    The kernel's own figure for an ended child starts from what its parent had when it forked.
    """
    peak_kb = 0
    while True:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        if not found:  # a zombie has no memory
            return peak_kb / 1024
        peak_kb = found[0]
        time.sleep(0.01)


def wait_for_cpu_mark(pid: int, listener: socket.socket) -> float:
    """Return the CPU seconds that the process has used when it is about to connect."""
    ticks = os.sysconf("SC_CLK_TCK")
    while True:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used = (int(fields[11]) + int(fields[12])) / ticks
        established = Path(f"/proc/{pid}/net/tcp").read_text()
        port = f":{listener.getsockname()[1]:04X} 01"
        if port in established:
            return used
        time.sleep(0.005)


def run_bare_loop(load: Load) -> float:
    listener = socket.create_server(("127.0.0.1", 0))
    server, reader = forked_server(listener, load)
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    done = subprocess.run(
        [sys.executable, "-c", BARE_LOOP, url], capture_output=True, text=True, check=True
    )
    os.close(reader)
    os.waitpid(server, 0)
    listener.close()
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, page size {resource.getpagesize()}")
    loads = [
        build("trades", "trades", trade_frame, int(TRADES * options.scale)),
        build("books", "orderbook", book_frame, int(BOOKS * options.scale)),
    ]
    for load in loads:
        print(f"{load.name}: {load.rows:,} frames of {len(load.frames[-1])} bytes on the wire")
        bare, results = [], []
        for _ in range(options.rounds):
            bare.append(run_bare_loop(load._replace(frames=load.frames[: load.rows // 10])))
            with tempfile.TemporaryDirectory() as directory:
                results.append(run_collector(load, Path(directory)))
            print(f"  bare {bare[-1]:,.0f}/s, collector {results[-1].rows_per_s:,.0f} rows/s")
        rate = statistics.median(each.rows_per_s for each in results)
        bare_rate = statistics.median(bare)
        print(
            f"  median: {rate:,.0f} rows/s, {rate / bare_rate:.1f} x bare ({bare_rate:,.0f}/s),"
            f" {statistics.median(r.cpu_us_per_row for r in results):.2f} CPU-us/row,"
            f" peak {max(r.peak_mb for r in results):.0f} MB"
        )


if __name__ == "__main__":
    main()
