"""A script of faults, from arguments or from TOML; all problems are found at once, with their places."""

import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec

from trio_collector.config.toml import in_toml, read_table, unknown_key
from trio_collector.errors import ConfigError, Problem
from trio_collector.simulator.endpoints import ENDPOINTS
from trio_collector.simulator.faults.catalog import CATALOG, CONDITIONS, NEED_TLS, Stage, fields_of
from trio_collector.simulator.faults.fault import Fault, Kind, Seed


class FaultScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults, and the seed of their dice; raises ValueError if one makes no sense."""

    seed: Seed = 0
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        found = [
            problem
            for index, fault in enumerate(self.faults)
            for problem in fault_problems(fault, f"faults[{index}]")
        ]
        if found:
            raise ValueError("\n".join(map(str, found)))


def parse_script(text: str, name: str = "file", *, is_tls: bool = True) -> FaultScript:
    """Return the script in the TOML `text`; `name` is what problems call the whole of it.

    Raises ConfigError with every problem found. Without `is_tls`, faults of TLS are problems.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError([Problem(name, f"not TOML: {exc}")]) from exc
    known = ("seed", "faults")
    problems = [unknown_key(key, known, key) for key in tables if key not in known]
    seed = tables.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        problems.append(Problem("seed", f"expected a whole number, got {in_toml(seed)}"))
    faults = _read_faults(tables.get("faults", []), problems, is_tls=is_tls)
    if problems:
        raise ConfigError(problems)
    return FaultScript(seed=seed, faults=faults)


def _read_faults(listed: Any, problems: list[Problem], *, is_tls: bool) -> tuple[Fault, ...]:
    if not isinstance(listed, list):
        problems.append(Problem("faults", f"expected a list of tables, got {in_toml(listed)}"))
        return ()
    faults = []
    for index, table in enumerate(listed):
        place = f"faults[{index}]"
        fault = read_table(Fault, table, place, problems)
        if fault is not None:
            faults.append(fault)
            problems += fault_problems(fault, place, is_tls=is_tls)
    return tuple(faults)


def fault_problems(fault: Fault, place: str, *, is_tls: bool = True) -> Iterator[Problem]:
    """Yield what makes no sense in `fault`, which is called `place`."""
    yield from _unwanted(fault, place)
    yield from _misplaced(fault, place)
    if fault.at_s is not None and (fault.after_s is not None or fault.after_messages is not None):
        yield Problem(place, "at_s tells a moment of the simulator; after_… one of each connection")
    if fault.every_s is not None and fault.rate is not None:
        yield Problem(place, "every_s and rate exclude each other")
    stage = CATALOG[fault.kind].stage
    is_window = stage in (Stage.ACCEPT, Stage.HANDSHAKE, Stage.REST)
    if is_window and fault.every_s is not None and fault.for_s is None:
        yield Problem(f"{place}.every_s", "needs for_s: how long it lasts each time")
    if fault.kind in NEED_TLS and not is_tls:
        yield Problem(f"{place}.kind", f"{fault.kind} needs TLS: --tls")


def _unwanted(fault: Fault, place: str) -> Iterator[Problem]:
    """Yield the fields that are set and that this kind of fault does not use."""
    wanted = fields_of(fault.kind)
    for field in msgspec.structs.fields(Fault):
        is_set = not field.required and getattr(fault, field.name) != field.default
        if is_set and field.name not in wanted:
            conditions = ", ".join(wanted[1:])
            text = f"{fault.kind} has no use for it; it may be told {conditions}"
            yield Problem(f"{place}.{field.name}", text)


def _misplaced(fault: Fault, place: str) -> Iterator[Problem]:
    """Yield the places where `fault` is impossible."""
    endpoint = ENDPOINTS.get(fault.path) if fault.path is not None else None
    if fault.path is not None and "path" in CONDITIONS[CATALOG[fault.kind].stage]:
        if endpoint is None:
            yield Problem(f"{place}.path", f"no such path; there are {', '.join(ENDPOINTS)}")
        elif fault.exchange not in (None, endpoint.dialect.facts.exchange):
            yield Problem(f"{place}.path", f"not a path of {fault.exchange}")
    if fault.exchange is not None and not is_known_at(fault.kind, fault.exchange):
        allowed = " and ".join(exchanges_of(fault.kind))
        yield Problem(f"{place}.exchange", f"{fault.kind} is known of {allowed} alone")


def is_known_at(kind: Kind, exchange: str) -> bool:
    """Return whether a fault of `kind` is possible at `exchange`."""
    allowed = exchanges_of(kind)
    return not allowed or exchange in allowed


def exchanges_of(kind: Kind) -> tuple[str, ...]:
    """Return the only exchanges where a fault of `kind` is possible; nothing if all."""
    return ("binance",) if CATALOG[kind].stage is Stage.REST else _ONLY_AT.get(kind, ())


_ONLY_AT = {
    Kind.NOTICE: ("binance", "okx"),
    Kind.NO_TEXT_PONG: ("upbit", "okx", "bybit"),
    Kind.NO_ACK: ("binance", "coinbase", "okx", "bybit"),
    Kind.LATE_ACK: ("binance", "coinbase", "okx", "bybit"),
}
