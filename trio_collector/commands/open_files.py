"""How many files the process may have open: as many as the system grants, not as few as it starts with.

A market with both feeds takes five: two connections, two journals, and the journal of its ledger.
Shells and containers start a process with a soft limit of 1024, which is for programs that still
use select(), and let it ask for more; 200 markets need more.
"""

import contextlib
import resource

# What fits on any machine: the hard limit may be "infinity", which macOS does not mean.
ENOUGH = 65_536


def raise_file_limit() -> int:
    """Ask for as many open files as are granted, up to ENOUGH; return how many there may be now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # what was granted so far has to do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
