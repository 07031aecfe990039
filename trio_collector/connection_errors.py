"""What keeps us from a server, in words: its name, the way there, its certificate, its TLS.

Feeds and uploads meet the same faults and tell of them alike. What to do about one is not said
here: for a feed it is another thing than for an upload.
"""

import enum
import ssl
from socket import gaierror
from typing import NamedTuple

# X509_V_ERR_* of OpenSSL's x509_vfy.h, in the words of whoever has to mend it.
_CERTIFICATE_FAULTS = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "untrusted CA",
    19: "untrusted CA",
    20: "untrusted CA",
    21: "untrusted CA",
    62: "host mismatch",
    64: "host mismatch",
}
# What OpenSSL's versions say of a first record that is none.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})


class Obstacle(enum.Enum):
    """What is in the way."""

    NAME = "name"
    REFUSED = "refused"
    NETWORK = "network"
    CERTIFICATE = "certificate"
    TLS = "tls"


class ConnectFault(NamedTuple):
    """Why there is no connection."""

    obstacle: Obstacle
    text: str


def tcp_fault(exc: BaseException) -> ConnectFault:
    """Return why one address could not be connected to."""
    match exc:
        case gaierror():
            return ConnectFault(Obstacle.NAME, f"name not found ({exc.strerror})")
        case UnicodeError():
            return ConnectFault(Obstacle.NAME, "not a host name")
        case ConnectionRefusedError():
            return ConnectFault(Obstacle.REFUSED, "refused")
        case OSError():
            return ConnectFault(Obstacle.NETWORK, f"unreachable ({exc.strerror or exc})")
    return ConnectFault(Obstacle.NETWORK, str(exc))


def tls_fault(exc: BaseException | None) -> ConnectFault:
    """Return why the handshake failed; None stands for an end without a word."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(exc.verify_code, "certificate refused")
        return ConnectFault(Obstacle.CERTIFICATE, f"{fault} ({exc.verify_message})")
    return ConnectFault(Obstacle.TLS, _handshake_text(exc))


def _handshake_text(exc: BaseException | None) -> str:
    match exc:
        case ssl.SSLEOFError() | ssl.SSLSyscallError() | None:
            return "closed during the TLS handshake"
        case ssl.SSLError() if exc.reason in _NOT_TLS:
            return f"the server does not speak TLS ({exc.reason})"
        case ssl.SSLError() if exc.reason:
            return exc.reason.lower().replace("_", " ")
    return str(exc)
