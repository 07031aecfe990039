"""A script of faults in a TOML file."""

from pathlib import Path

from trio_collector.errors import ConfigError, Problem
from trio_collector.simulator.faults.script import FaultScript, parse_script


def load_script(path: Path, *, is_tls: bool = True) -> FaultScript:
    """Return the script in the file `path`.

    Raises ConfigError with every problem found, also when the file cannot be read.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as exc:
        raise ConfigError([Problem(str(path), f"cannot be read: {exc.strerror}")]) from exc
    except UnicodeDecodeError as exc:
        fault = f"not UTF-8: byte {exc.start} is {exc.object[exc.start]:#04x}; TOML is UTF-8"
        raise ConfigError([Problem(str(path), fault)]) from exc
    return parse_script(text, str(path), is_tls=is_tls)
