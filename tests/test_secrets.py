"""Secrets stay secret: canaries are given to the real process, and looked for in all it lets out."""

import base64
import binascii
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import orjson
import pyarrow.parquet as pq
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.bucket import Bucket, Credential, Fault, FaultScript
from trio_collector.format.journal_reader import open_journal
from trio_collector.simulator import Simulation, Simulator

WaitUntil = Callable[[Callable[[], bool]], Awaitable[None]]

# With the characters that make the difference between a text and its spellings.
ACCESS_KEY = "AKIACANARY+0000/0001"
SECRET_KEY = "cAnArY/secret+key/of=the~bucket?0123456789"
SESSION_TOKEN = "cAnArY//session+token==of/the&bucket%9876543210"
API_KEY = "organizations/canary-0f3c/apiKeys/canary-7d21-4c5e-b01d"

PIECE = 12  # of a secret that is cut off, as much must not be seen either

ROUTES = ("/", "/metrics", "/health", "/ready", "/live", "/api/status", "/nothing")
JWT = re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}")  # two JSON objects in base64url (RFC 7519)


def pem_and_secrets() -> tuple[str, list[bytes]]:
    """Return a new private key for Coinbase, and what of it is secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    number = key.private_numbers().private_value
    body = b"".join(pem.splitlines()[1:-1])
    # The end of the body is the public half, which is not searched for.
    return pem.decode(), [body[:64], number.to_bytes(32, "big"), str(number).encode()]


def spellings(secret: bytes) -> set[bytes]:
    """Return `secret` as it may be written: plain, quoted for URLs, hexadecimal, in base64."""
    quoted = urllib.parse.quote(secret, safe="").encode()
    found = {secret, quoted, quoted.lower(), secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):  # bytes in front move the groups of base64
        code = base64.b64encode(b"\0" * before + secret)
        # The first and the last groups depend on the neighbours as well.
        inner = code[-(-before * 4 // 3) + (before > 0) : len(secret + b"\0" * before) // 3 * 4]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


class Search:
    """Looks for secrets, or for the beginning or the end of one, in whatever spelling."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        pieces = {piece for secret in secrets for piece in (secret[:PIECE], secret[-PIECE:])}
        needles = {needle for piece in pieces for needle in spellings(piece)}
        self._pattern = re.compile(b"|".join(map(re.escape, sorted(needles, key=len))))

    def find(self, text: bytes) -> list[bytes]:
        """Return what was found in `text`, with a bit of what is around it."""
        found = [*self._pattern.finditer(text), *JWT.finditer(text)]
        return [text[max(0, match.start() - 60) : match.end() + 20] for match in found]


@pytest.mark.parametrize(
    "spell",
    [
        bytes,
        base64.b64encode,
        base64.urlsafe_b64encode,
        lambda secret: base64.b64encode(b"a" + secret + b"bc"),
        lambda secret: base64.b64encode(b"ab" + secret),
        binascii.hexlify,
        lambda secret: secret.hex().upper().encode(),
        lambda secret: urllib.parse.quote(secret, safe="").encode(),
        lambda secret: urllib.parse.quote_plus(secret).encode(),
        lambda secret: secret[: PIECE + 1],
        lambda secret: secret[-PIECE:],
    ],
)
@pytest.mark.parametrize("secret", [SECRET_KEY, SESSION_TOKEN, API_KEY, ACCESS_KEY])
def test_search(secret: str, spell: Callable[[bytes], bytes]) -> None:
    """A secret is found in each spelling, between other things, and nothing is found in none."""
    search = Search([secret.encode()])
    assert search.find(b"before " + spell(secret.encode()) + b" behind")
    assert not search.find(b"before " + spell(bytes(range(200, 250))) + b" behind")


class Process:
    """A collector that runs beside the test, and where its words go."""

    def __init__(self, process: trio.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    def log(self) -> list[dict[str, object]]:
        lines = (self._folder / "stderr").read_bytes().split(b"\n")[:-1]
        return [orjson.loads(line) for line in lines]

    def count(self, event: str) -> int:
        return sum(entry["event"] == event for entry in self.log())

    def url(self) -> str:
        (entry,) = [each for each in self.log() if each["event"] == "endpoint listens"]
        return str(entry["url"]).rstrip("/")

    def snapshot(self, spool: Path, copy: Path) -> None:
        """Copy what is in the spool while the process holds its breath."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            shutil.copytree(spool, copy)
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        with trio.fail_after(30):
            return await self._process.wait()


@asynccontextmanager
async def collecting(
    config: Path, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[Process]:
    """Run the collector; what is left of it at the end is killed."""
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "trio_collector", "run", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
        )
    try:
        yield Process(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


def write_config(folder: Path, simulator: Simulator, bucket: Bucket) -> Path:
    """Write a configuration with two exchanges that answer and one that does not."""
    path = folder / "config.toml"
    path.write_text(f"""
[collector]
metrics_port = 0
log_dir = "{folder}/logs"
[aws]
endpoint_url = "{bucket.endpoint_url}"
region = "{bucket.region}"
bucket = "{bucket.bucket}"
[storage]
mode = "both"
data_dir = "{folder}/spool"
local_path = "{folder}/archive"
min_free_bytes = 0
max_file_age_secs = 1
flush_interval_secs = 0.2
[[markets]]
exchange = "coinbase"
symbols = ["BTC-USD"]
base_url = "{simulator.base_url("coinbase")}"
[[markets]]
exchange = "upbit"
symbols = ["KRW-BTC"]
base_url = "{simulator.base_url("upbit")}"
[[markets]]
exchange = "okx"
symbols = ["BTC-USDT"]
base_url = "ws://127.0.0.1:1"
""")
    return path


async def fetch_all(url: str) -> bytes:
    """Return what every route answers, headers included, and the first events of the stream."""
    parts: list[bytes] = []
    async with httpx.AsyncClient(timeout=10) as client:
        for route in ROUTES:
            answer = await client.get(url + route)
            parts += [repr(answer.headers.multi_items()).encode(), answer.content]
        async with client.stream("GET", f"{url}/events") as events:
            assert events.headers["content-type"] == "text/event-stream"
            with trio.CancelScope() as enough:  # `break` would leave generators of httpx behind
                async for line in events.aiter_lines():
                    parts.append(line.encode())
                    if sum(each.startswith(b"data:") for each in parts) == 2:
                        enough.cancel()
    return b"\n".join(parts)


def rows_of(path: Path) -> Iterator[str]:
    """Yield what a journal or a sealed file holds, decoded."""
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        yield repr((file.schema_arrow.metadata, file.metadata.to_dict()))
        yield repr(file.read().to_pydict())
    elif path.suffix == ".arrows" and path.stat().st_size:
        with open_journal(path) as journal:
            yield repr(journal.header)
            yield from (repr(batch.to_pydict()) for batch in journal)


def let_out(folder: Path) -> dict[str, bytes]:
    """Return everything that was written below `folder`, as it is and decoded."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".toml"]
    texts = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    decoded = {f"rows of {path.name}": "\n".join(rows_of(path)).encode() for path in files}
    return texts | decoded


# What befalls the first requests: fewer than make the store look down.
FAULTS = (Fault.CLOSED, Fault.CLOSED, Fault.EXPIRED_TOKEN, Fault.RESET, Fault.TRUNCATED_XML)


async def test_secrets_stay_secret(
    tmp_path: Path,
    start_simulator: Callable[[Simulation], Awaitable[Simulator]],
    start_bucket: Callable[..., Awaitable[Bucket]],
    cli_environment: Callable[..., dict[str, str]],
    run_cli: Callable[..., subprocess.CompletedProcess[str]],
    wait_until: WaitUntil,
) -> None:
    """At DEBUG, with refusals that quote the request and lost connections, no secret is let out."""
    pem, of_pem = pem_and_secrets()
    secrets = {
        "AWS_ACCESS_KEY": ACCESS_KEY,
        "AWS_SECRET_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "COINBASE_API_KEY": API_KEY,
        "COINBASE_API_SECRET": pem,
    }
    simulator = await start_simulator(Simulation(books_per_s=20, trades_per_s=20))
    bucket = await start_bucket(
        access_key=ACCESS_KEY, secret_key=SECRET_KEY, session_token=SESSION_TOKEN
    )
    config = write_config(tmp_path, simulator, bucket)
    bucket.set_faults(FaultScript(plan=FAULTS))
    said: dict[str, bytes] = {}
    environment = cli_environment(LOG_LEVEL="debug", **secrets)
    async with collecting(config, tmp_path, environment) as process:
        await wait_until(lambda: process.count("upload failed, will be tried again") > 0)
        await wait_until(lambda: process.count("file uploaded") > 0)
        said["endpoint"] = await fetch_all(process.url())
        right = dict(bucket.credentials)
        bucket.credentials[ACCESS_KEY] = Credential("another", SESSION_TOKEN)
        await wait_until(lambda: process.count("store refuses, files are kept") > 0)
        said["endpoint, refused"] = await fetch_all(process.url())
        check = partial(run_cli, "check", "--s3", "--config", str(config), **secrets)
        said["check, refused"] = repr(await trio.to_thread.run_sync(check)).encode()
        process.snapshot(tmp_path / "spool", tmp_path / "copy")
        bucket.credentials.update(right)
        assert await process.stop() == 0
    said |= let_out(tmp_path)
    for key, stored in bucket.objects.items():
        said[f"object {key}"] = repr(stored).encode()
    search = Search([*(text.encode() for text in secrets.values() if text != pem), *of_pem])
    assert {name: found for name, text in said.items() if (found := search.find(text))} == {}
    whole = b"\n".join(said.values())
    for mark in (b"SignatureDoesNotMatch", b"connect_failed", b"collector_s3_", b"data: {"):
        assert mark in whole, f"what was searched lacks {mark!r}"
    assert any(name.endswith(".arrows") for name in said)
    assert any(name.startswith("logs/") for name in said)
