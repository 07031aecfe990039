"""Why a server cannot be reached, in words: its name, the network, its certificate, its TLS.

Feeds and uploads meet the same errors and report them in the same words. What to do about them
differs, and is decided by the caller.
"""

import enum
import ssl
from socket import gaierror
from typing import NamedTuple

# X509_V_ERR_* of OpenSSL's x509_vfy.h, in words for the person who has to fix it.
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
# The reasons that versions of OpenSSL give for a first record that is not TLS.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})


class Obstacle(enum.Enum):
    """What prevents the connection."""

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
    """Return why connecting to one address failed."""
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
    """Return why the handshake failed; None stands for a connection that was just closed."""
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
