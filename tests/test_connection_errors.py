"""Errors on the way to a server are told in words, the same for feeds and uploads."""

import errno
import os
import socket
import ssl

import pytest

from trio_collector.connection_errors import Obstacle, tcp_fault, tls_fault


@pytest.mark.parametrize(
    ("exc", "obstacle", "text"),
    [
        (socket.gaierror(-2, "Name unknown"), Obstacle.NAME, "name not found (Name unknown)"),
        (UnicodeError("label too long"), Obstacle.NAME, "not a host name"),
        (ConnectionRefusedError(), Obstacle.REFUSED, "refused"),
        (
            OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)),
            Obstacle.NETWORK,
            "unreachable (Network is unreachable)",
        ),
        (OSError("no address"), Obstacle.NETWORK, "unreachable (no address)"),
        (ValueError("odd"), Obstacle.NETWORK, "odd"),
    ],
)
def test_no_connection(exc: Exception, obstacle: Obstacle, text: str) -> None:
    """A name, a refusal and the network are told apart; what is none of them speaks for itself."""
    assert tcp_fault(exc) == (obstacle, text)


def certificate_fault(code: int) -> ssl.SSLError:
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_code, exc.verify_message = code, "so it is"
    return exc


def tls_error(reason: str) -> ssl.SSLError:
    exc = ssl.SSLError(1, reason)
    exc.reason = reason
    return exc


@pytest.mark.parametrize(
    ("exc", "obstacle", "text"),
    [
        (certificate_fault(10), Obstacle.CERTIFICATE, "certificate expired (so it is)"),
        (certificate_fault(20), Obstacle.CERTIFICATE, "untrusted CA (so it is)"),
        (certificate_fault(62), Obstacle.CERTIFICATE, "host mismatch (so it is)"),
        (certificate_fault(77), Obstacle.CERTIFICATE, "certificate refused (so it is)"),
        (
            tls_error("WRONG_VERSION_NUMBER"),
            Obstacle.TLS,
            "the server does not speak TLS (WRONG_VERSION_NUMBER)",
        ),
        (tls_error("NO_SHARED_CIPHER"), Obstacle.TLS, "no shared cipher"),
        (ssl.SSLEOFError(), Obstacle.TLS, "closed during the TLS handshake"),
        (None, Obstacle.TLS, "closed during the TLS handshake"),
        (OSError("reset"), Obstacle.TLS, "reset"),
    ],
)
def test_no_tls(exc: Exception | None, obstacle: Obstacle, text: str) -> None:
    """What is wrong with a certificate is not what is wrong with a server."""
    assert tls_fault(exc) == (obstacle, text)
