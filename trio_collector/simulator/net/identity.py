"""What a TLS server presents to its clients."""

import enum
import ssl
from collections.abc import Mapping
from typing import NamedTuple


class Flaw(enum.Enum):
    """What may be wrong with a certificate."""

    WRONG_HOST = "wrong host"
    EXPIRED = "expired"
    UNTRUSTED = "untrusted"


class ServerIdentity(NamedTuple):
    """What a TLS server needs, what its clients have to trust, and contexts that they refuse."""

    context: ssl.SSLContext
    ca_pem: bytes
    flawed: Mapping[Flaw, ssl.SSLContext]
