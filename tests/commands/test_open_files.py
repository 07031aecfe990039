"""The process may open as many files as the system grants it."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from trio_collector.commands.open_files import raise_file_limit
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "granted"),
    [(64, 512, 512), (64, 64, 64), (512, 512, 512)],
    ids=["raised", "no more to have", "enough already"],
)
def test_limit_is_raised(soft: int, hard: int, granted: int) -> None:
    """The soft limit becomes the hard one, which does not change."""
    command = [sys.executable, "-c", SCRIPT, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(granted), str(granted), str(hard)]
