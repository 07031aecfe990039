"""Everything that can go wrong between an exchange and a collector, and that nothing is hidden.

    python -m tests.bench.feed_faults alone [--only KIND ...] [--beside N]
    python -m tests.bench.feed_faults mix [--minutes N] [--rate N] [--seed N]

`alone` plays each fault of the simulator by itself: it befalls the first connection to each of five
exchanges, after two seconds, and the collector (a process of its own, as is the simulator) has ten
connections. `mix` plays all of them at random, for as long as told, on 40 connections at ten times
the usual rate.

Judged are: no exit; no connection disturbed that the fault did not concern; each session followed by
the next one within the backoff's cap; and every frame accounted for, and every hole told, as
`truth.py` works it out from the simulator's numbers.
"""

import argparse
import concurrent.futures
import itertools
import operator
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.bench import lab, truth
from trio_collector.simulator.faults.catalog import CATALOG, NEED_TLS, Stage
from trio_collector.simulator.faults.fault import Fault, Kind
from trio_collector.simulator.faults.script import exchanges_of

FIRST_DELAY_S, LONGEST_DELAY_S = 0.2, 2.0
MESSAGE_TIMEOUT_S = 5.0
CONNECT_S = 10.0
ALONE_S = {Stage.ACCEPT: 18, Stage.HANDSHAKE: 28, Stage.REST: 10}
USUAL = {"books_per_s": 10.0, "trades_per_s": 5.0}

SECTIONS = f"""[collector]
metrics_port = 0
[websocket]
initial_retry_delay_secs = {FIRST_DELAY_S}
max_retry_delay_secs = {LONGEST_DELAY_S}
message_timeout_secs = {MESSAGE_TIMEOUT_S}
"""


FROM_THE_START = {
    Kind.ACK_REFUSED,
    Kind.ACK_SILENT,
    Kind.NO_ACK,
    Kind.LATE_ACK,
    Kind.NO_TEXT_PONG,
    Kind.NO_FRAME_PONG,
}


def fault_alone(kind: Kind) -> Fault:
    """Return the fault of `kind` that befalls each exchange once."""
    stage = CATALOG[kind].stage
    named = set(CATALOG[kind].parameters)
    options: dict[str, Any] = {"kind": kind}
    if stage in (Stage.ACCEPT, Stage.HANDSHAKE):
        options["for_s"] = 6.0
    elif stage in (Stage.CONNECTION, Stage.MESSAGE):
        options |= {"connection": 1, "after_s": 2.0}
    elif stage is Stage.EXCHANGE:
        options |= {"at_s": 4.0}
    if "for_s" in named:
        options["for_s"] = 3.0
    if "retry_after_s" in named:
        options["retry_after_s"] = 3.0
    if kind in (Kind.LOST, Kind.DUPLICATE, Kind.REPEATED, Kind.REORDERED):
        options |= {"rate": 0.05}
        options.pop("after_s")
    if kind in FROM_THE_START:
        options.pop("after_s")
    if kind in (Kind.NO_TEXT_PONG, Kind.NO_FRAME_PONG, Kind.SILENT_FEED):
        options.pop("for_s")
    return Fault(**options)


def fault_at_random(kind: Kind, mean_s: float, messages_per_s: float, dice: random.Random) -> Fault:
    """Return the fault of `kind` that befalls each connection each `mean_s` or so."""
    stage, named = CATALOG[kind].stage, CATALOG[kind].parameters
    options: dict[str, Any] = {"kind": kind}
    if stage in (Stage.ACCEPT, Stage.HANDSHAKE):
        options |= {"rate": 0.01}
    elif stage is Stage.EXCHANGE:
        options |= {"every_s": 3 * mean_s, "at_s": dice.uniform(10, 3 * mean_s)}
    elif stage is Stage.REST:
        options |= {"rate": 0.05}
    else:
        options |= {"rate": 1 / (mean_s * messages_per_s)}
    if "for_s" in named:
        options["for_s"] = dice.uniform(1, 5)
    if "retry_after_s" in named:
        options["retry_after_s"] = 2.0
    return Fault(**options)


def play(
    directory: Path,
    faults: Iterable[Fault],
    symbols: int,
    seconds: float,
    rate: float,
    seed: int = 0,
) -> tuple[list[str], list[truth.Verdict]]:
    """Let the collector live through `faults`; return what was wrong, and each stream's verdict."""
    script = tuple(faults)
    exchanges = lab.symbols_of(symbols)
    is_tls = any(fault.kind in NEED_TLS for fault in script)
    entries, log = directory / "entries", directory / "log"
    settings: dict[str, Any] = {
        "exchanges": exchanges,
        "entries_path": entries,
        "has_own_ports": True,
        "is_tls": is_tls,
        "seed": seed,
        "faults": {"seed": seed, "faults": [_told(fault) for fault in script]},
        **{name: rate * usual for name, usual in USUAL.items()},
    }
    with lab.simulator(settings) as urls:
        trusted = directory / "ca.pem"
        trusted.write_text(urls.get("ca_pem", ""))
        config = lab.write_config(directory, urls, exchanges, sections=SECTIONS, market="")
        os.environ["SSL_CERT_FILE"] = str(trusted) if is_tls else ""
        with lab.collector(config, log) as process:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.2)
            wrong = [] if process.poll() is None else [f"the collector ended: {process.returncode}"]
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            if code:
                wrong.append(f"exit code {code}")
    verdicts = truth.judge(entries, directory / "archive")
    wrong += [f"{'/'.join(each.name)}: {text}" for each in verdicts for text in each.faults]
    return wrong + judge_delays(directory / "archive"), verdicts


def _told(fault: Fault) -> dict[str, Any]:
    default = {field.name: field.default for field in msgspec.structs.fields(Fault)}
    told: dict[str, Any] = msgspec.to_builtins(fault)
    return {name: value for name, value in told.items() if value != default[name]}


def judge_delays(archive: Path) -> list[str]:
    """Return the streams that waited longer for their next session than they may.

    The log leaves out what repeats; the ledger has it all. Each connection has one stream.
    """
    _data, ledger = truth.read_rows(archive)
    banned: dict[str, list[int]] = {}
    for name, rows in ledger.items():
        banned.setdefault(name[0], []).extend(
            row["at_us"] for row in rows if row.get("code") in BANNED
        )
    return [
        f"{'/'.join(name)} waited {waited_s:.1f} s for session {session}"
        for name, rows in ledger.items()
        for session, waited_s in waits_of(rows, sorted(banned[name[0]]))
        if waited_s > LONGEST_DELAY_S + PATIENCE_S
    ]


def waits_of(rows: Iterable[dict[str, Any]], bans: Sequence[int]) -> Iterator[tuple[int, float]]:
    """Yield how long each session came after the end of the one before, less bans, in seconds."""
    begun: dict[int, int] = {}
    ended: dict[int, int] = {}
    for row in sorted(rows, key=operator.itemgetter("at_us")):
        if "session" in row:
            begun.setdefault(row["session"], row["at_us"])
            if row["event"] in ("disconnected", "stopped"):
                ended[row["session"]] = row["at_us"]
    for session, at_us in begun.items():
        if session - 1 in ended:
            since_us = ended[session - 1]
            # A session that was never open begins with its end.
            spent_s = CONNECT_S if ended.get(session) == at_us else 0.0
            for ban_us in bans:
                if since_us - BAN_US <= ban_us <= at_us:
                    since_us = max(since_us, ban_us + BAN_US)
            yield session, (at_us - since_us) / 1e6 - spent_s


# What may come on top of the backoff: a Retry-After of the script, its turn to connect when all of
# an exchange have ended at once, a busy machine.
PATIENCE_S = 6.0
# What an exchange that bans is left alone for when it does not say.
BAN_US = 30_000_000
BANNED = (418, 429)


def ends_of(archive: Path) -> dict[truth.Name, list[str]]:
    """Return the reasons for which the sessions of each stream ended."""
    _data, ledger = truth.read_rows(archive)
    return {
        name: [row["reason"] for row in rows if row["event"] in ("disconnected", "stopped")]
        for name, rows in ledger.items()
    }


def play_alone(kind: Kind) -> tuple[Kind, list[str], str]:
    """Play one fault; return what was wrong, and a line about it."""
    stage = CATALOG[kind].stage
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        seconds = ALONE_S.get(stage, 16)
        wrong, verdicts = play(directory, [fault_alone(kind)], 1, seconds, 1.0)
        ends = ends_of(directory / "archive")
        allowed = exchanges_of(kind) or tuple(lab.symbols_of(1))
        if stage in (Stage.CONNECTION, Stage.MESSAGE):
            disturbed = [name for name, reasons in ends.items() if len(reasons) > 1]
            if len(disturbed) > len(allowed):
                wrong.append(f"siblings were disturbed: {disturbed}")
        reasons = Counter(reason for each in ends.values() for reason in each)
        del reasons["stopped"]
    text = (
        f"sent {sum(v.sent for v in verdicts):,}, stored {sum(v.stored for v in verdicts):,},"
        f" unread {sum(v.tail for v in verdicts)}, gaps {sum(v.gaps for v in verdicts)},"
        f" duplicates {sum(v.duplicates for v in verdicts)}, ends {dict(reasons)}"
    )
    return kind, wrong, text


def run_alone(options: argparse.Namespace) -> bool:
    kinds = [kind for kind in Kind if not options.only or kind in options.only]
    kinds = [kind for kind in kinds if CATALOG[kind].stage is not Stage.REST]
    bad = 0
    with concurrent.futures.ProcessPoolExecutor(options.beside) as pool:
        for kind, wrong, text in pool.map(play_alone, kinds):
            bad += bool(wrong)
            print(f"{'BAD ' if wrong else 'good'} {kind:24} {text}", flush=True)
            for each in wrong[:10]:
                print(f"       {each}", flush=True)
    print(f"{len(kinds)} faults, {bad} of them bad")
    return not bad


def run_mix(options: argparse.Namespace) -> bool:
    dice = random.Random(options.seed)
    seconds = options.minutes * 60
    per_connection = options.rate * sum(USUAL.values()) / 2
    kinds = [k for k in Kind if k not in NEED_TLS and CATALOG[k].stage is not Stage.REST]
    faults = [fault_at_random(kind, options.each, per_connection, dice) for kind in kinds]
    directory = Path(options.keep or tempfile.mkdtemp())
    directory.mkdir(exist_ok=True)
    wrong, verdicts = play(directory, faults, 4, seconds, options.rate, options.seed)
    ends = ends_of(directory / "archive")
    print(f"{len(kinds)} kinds of faults, {options.minutes:g} minutes, {len(verdicts)} streams")
    for name in ("sent", "stored", "tail", "copies", "gaps", "duplicates"):
        print(f"  {name:10} {sum(getattr(each, name) for each in verdicts):,}")
    fates: Counter[str] = Counter()
    for sent in truth.read_sent(directory / "entries").values():
        fates.update(sent.fates)
    print(f"  fates      {dict(fates)}")
    reasons = Counter(reason for each in ends.values() for reason in each)
    print(f"  sessions   {reasons.total():,} on {len(ends)} connections")
    print(f"  ends       {dict(reasons)}")
    for text in itertools.islice(wrong, 40):
        print(f"  BAD {text}")
    return not wrong


def main() -> None:
    parser = lab.open_parser(__doc__)
    parser.add_argument("what", choices=("alone", "mix"))
    parser.add_argument("--only", nargs="*", default=(), help="kinds of faults")
    parser.add_argument("--beside", type=int, default=4, help="so many at a time")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--each", type=float, default=600.0, help="mean seconds between two of a kind"
    )
    parser.add_argument("--rate", type=float, default=10.0, help="times the usual rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="leave the files in this folder")
    options = parser.parse_args()
    is_good = run_alone(options) if options.what == "alone" else run_mix(options)
    lab.finish(is_good=is_good)


if __name__ == "__main__":
    main()
