"""`simulate --faults FILE`, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import trio

COMMAND = [sys.executable, "-m", "trio_collector", "simulate", "--faults"]


def test_a_bad_script_is_refused_with_every_problem(tmp_path: Path) -> None:
    """One line for each on stderr, and exit code 2."""
    path = tmp_path / "faults.toml"
    path.write_text('[[faults]]\nkind = "rest"\n[[faults]]\nkind = "tls_expired"\nat_s = "x"\n')
    done = subprocess.run([*COMMAND, str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "faults[0].kind",
        "faults[1].at_s",
    ]
    path.write_text('[[faults]]\nkind = "tls_expired"\n')
    done = subprocess.run([*COMMAND, str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "faults[0].kind: tls_expired needs TLS: --tls\n"


async def test_a_good_script_is_played(tmp_path: Path) -> None:
    """What the script says happens; each exchange has a port of its own."""
    path = tmp_path / "faults.toml"
    path.write_text('[[faults]]\nkind = "status_451"\nexchange = "okx"\n')
    process = await trio.lowlevel.open_process([*COMMAND, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            line += await process.stdout.receive_some()
        urls = json.loads(line)["base_urls"]
        ports = {name: int(url.split(":")[2].split("/")[0]) for name, url in urls.items()}
        assert len(set(ports.values())) == 5
        async with await trio.open_tcp_stream("127.0.0.1", ports["okx"]) as stream:
            await stream.send_all(
                b"GET /okx/ws/v5/public HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 451")
    finally:
        process.terminate()
        await process.wait()
    assert process.returncode == 0
