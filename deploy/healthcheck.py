"""Ask the collector in this container whether its event loop turns: exit code 0 if so, 1 if not.

No proxy of the environment is asked, and nothing is printed but the reason of a failure.
"""

import http.client
import sys

TIMEOUT_S = 4.0  # below the 5 s of the Dockerfile's HEALTHCHECK


def main(port: int = 9090) -> int:
    """Return the exit code."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/live")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as exc:
        print(f"no answer on port {port}: {exc!r}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    finally:
        connection.close()
    if answer.status != http.client.OK:
        print(f"/live says {answer.status}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
