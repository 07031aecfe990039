from pathlib import Path

import msgspec
import pytest

from trio_collector.errors import ConfigError
from trio_collector.simulator import Fault, FaultScript, Kind, Simulation
from trio_collector.simulator.faults import parse_script
from trio_collector.simulator.faults.file import load_script

SCRIPT = """
seed = 7

[[faults]]
kind = "close_1011"
exchange = "okx"
connection = 2
after_messages = 100

[[faults]]
kind = "STATUS_429"
at_s = 60
for_s = 5
every_s = 600
retry_after_s = 30
is_retry_date = true

[[faults]]
kind = "lost"
rate = 1e-3
symbol = "btcusdt"
"""


def problems(text: str, *, is_tls: bool = True) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_script(text, "faults.toml", is_tls=is_tls)
    return [str(problem) for problem in caught.value.problems]


def test_a_script_is_read() -> None:
    """Tables of TOML are faults."""
    assert parse_script(SCRIPT) == FaultScript(
        seed=7,
        faults=(
            Fault(kind=Kind.CLOSE_1011, exchange="okx", connection=2, after_messages=100),
            Fault(
                kind=Kind.STATUS_429,
                at_s=60.0,
                for_s=5.0,
                every_s=600.0,
                retry_after_s=30.0,
                is_retry_date=True,
            ),
            Fault(kind=Kind.LOST, rate=1e-3, symbol="btcusdt"),
        ),
    )
    assert parse_script("") == FaultScript()


def test_every_problem_has_its_place() -> None:
    """All at once, and with what would be right."""
    found = problems(
        """
        sead = 1
        seed = "x"
        [[faults]]
        kind = "rest"
        [[faults]]
        kind = "lost"
        rate = 2
        exchnage = "okx"
        [[faults]]
        after_s = 1
        [[faults]]
        kind = "reset"
        retry_after_s = 5
        at_s = 1
        after_s = 2
        [[faults]]
        kind = "notice"
        exchange = "bybit"
        [[faults]]
        kind = "no_ack"
        path = "/nowhere"
        [[faults]]
        kind = "no_ack"
        path = "/okx/ws/v5/public"
        exchange = "bybit"
        [[faults]]
        kind = "lost"
        every_s = 5
        rate = 0.5
        [[faults]]
        kind = "status_503"
        every_s = 5
        [[faults]]
        kind = "tls_expired"
        """,
        is_tls=False,
    )
    places = [problem.split(": ")[0] for problem in found]
    assert places == [
        "sead",
        "seed",
        "faults[0].kind",
        "faults[1].rate",
        "faults[1].exchnage",
        "faults[2].kind",
        "faults[3].retry_after_s",
        "faults[3]",
        "faults[4].exchange",
        "faults[5].path",
        "faults[6].path",
        "faults[7]",
        "faults[8].every_s",
        "faults[9].kind",
    ]
    assert "did you mean 'reset'?" in found[2] or "choose one of" in found[2]
    assert found[4].endswith("did you mean 'exchange'?")


@pytest.mark.parametrize("text", ["faults = 3", "[faults]\nkind = 'lost'", "x =", "faults = [1]"])
def test_what_is_no_list_of_tables(text: str) -> None:
    """Anything is answered by problems, never by another exception."""
    assert problems(text)


def test_arguments_are_checked_as_well() -> None:
    """A script in code is held to the same."""
    with pytest.raises(ValueError, match=r"faults\[0\].drip_s: reset has no use for it"):
        FaultScript(faults=(Fault(kind=Kind.RESET, drip_s=5),))
    with pytest.raises(ValueError, match="needs is_tls"):
        Simulation(faults=FaultScript(faults=(Fault(kind=Kind.TLS_EXPIRED),)))


def test_settings_hold_a_script_as_json() -> None:
    """A simulator in another process gets its settings as JSON."""
    settings = {"faults": {"faults": [{"kind": "lost", "rate": 0.5}]}}
    simulation = msgspec.convert(settings, Simulation)
    assert simulation.faults.faults == (Fault(kind=Kind.LOST, rate=0.5),)


def test_files(tmp_path: Path) -> None:
    """A script is read from a file; one that cannot be read is a problem with its name."""
    path = tmp_path / "faults.toml"
    path.write_text(SCRIPT)
    assert load_script(path) == parse_script(SCRIPT)
    path.write_bytes(b"\xff")
    for bad, words in ((path, "not UTF-8"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(ConfigError, match=words):
            load_script(bad)
