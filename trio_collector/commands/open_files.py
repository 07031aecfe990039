"""The limit of open files, raised as far as the system allows.

A market with both feeds takes five: two connections, two journals, and the journal of its ledger.
Shells and containers start a process with a soft limit of 1024, for programs that still use
select(), and let it ask for more; 200 markets need more.
"""

import contextlib
import resource

# Allowed on any machine; macOS reports an infinite hard limit and does not grant it.
ENOUGH = 65_536


def raise_file_limit() -> int:
    """Raise the soft limit to the hard one, up to ENOUGH; return the limit that is now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # the limit stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
