"""Tokens for Coinbase: a key from the environment signs a JWT for each request.

A token is only checked when the request arrives, so each request carries a new one:

    header  alg ES256 or EdDSA, kid the key's name, nonce random, typ JWT
    claims  sub the key's name, iss "cdp", nbf now, exp 120 s later; no uri on a WebSocket

https://github.com/coinbase/coinbase-advanced-py/blob/master/coinbase/jwt_generator.py (1.8.3)

Market data needs no key; Coinbase calls the connection more reliable with one. The secret stays in
the Signer: it is in no text, no error and no error's cause, for a cause may quote bytes of it.
"""

import base64
from collections.abc import Callable, Mapping

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from trio_collector.errors import ConfigError, Problem

KEY_NAME = "COINBASE_API_KEY"
SECRET = "COINBASE_API_SECRET"
SECRET_FILE = "COINBASE_API_SECRET_FILE"

LIFETIME_S = 120

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey

_WANTED = "use the private key of a CDP API key: PEM of an EC P-256 or Ed25519 key, or base64"


class Signer:
    """A key that signs tokens, and its name."""

    def __init__(self, key_name: str, key: PrivateKey) -> None:
        self._key_name = key_name
        self._key = key
        self.algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"

    def __repr__(self) -> str:
        return f"Signer({self._key_name!r}, {self.algorithm})"

    def token(self, now_s: int, nonce: str) -> str:
        """Return a token that is valid from `now_s`, seconds since the epoch, for LIFETIME_S.

        `nonce` is random text, another one for each token.
        """
        claims = {
            "sub": self._key_name,
            "iss": "cdp",
            "nbf": now_s,
            "exp": now_s + LIFETIME_S,
        }
        headers = {"kid": self._key_name, "nonce": nonce, "typ": "JWT"}
        return jwt.encode(claims, self._key, algorithm=self.algorithm, headers=headers)


def read_credentials(environ: Mapping[str, str], read_file: Callable[[str], str]) -> Signer | None:
    """Return the signer that the environment names; None without credentials.

    An empty variable counts as unset. Raises ConfigError for a key without a secret, a secret
    without a key, two secrets, and a secret that is none.
    """
    key_name = environ.get(KEY_NAME, "").strip()
    path, secret = environ.get(SECRET_FILE, ""), environ.get(SECRET, "")
    place = SECRET_FILE if path else SECRET
    if path and secret:
        raise _wrong(SECRET, f"{SECRET_FILE} is set as well; unset one of the two")
    if key_name and (path or secret):
        return load_signer(key_name, _read(path, read_file) if path else secret, place=place)
    if key_name:
        raise _wrong(SECRET_FILE, f"not set, but {KEY_NAME} is; name the file with the secret")
    if path or secret:
        raise _wrong(KEY_NAME, f"not set, but {place} is; set it to the name of the key")
    return None


def load_signer(key_name: str, secret_text: str, *, place: str = SECRET) -> Signer:
    r"""Return the signer for a secret as Coinbase hands it out.

    That is PEM (SEC1 or PKCS#8), or for Ed25519 also base64 of the 32-byte seed, with or without
    the 32-byte public key behind it. A PEM on one line, with `\n` written out, is taken too.
    Raises ConfigError, at `place`, for anything else.
    """
    text = secret_text.replace("\\r", "").replace("\\n", "\n").strip()
    return Signer(key_name, _load_pem(text, place) if "-----" in text else _load_seed(text, place))


def _read(path: str, read_file: Callable[[str], str]) -> str:
    try:
        return read_file(path)
    except OSError as exc:
        fault = exc.strerror or type(exc).__name__
        raise _wrong(SECRET_FILE, f"{path!r} cannot be read: {fault}") from exc
    except UnicodeDecodeError:
        pass  # the error holds the bytes of the file, and must not become a context
    raise _wrong(SECRET_FILE, f"{path!r} is not text; {_WANTED}")


def _load_pem(text: str, place: str) -> PrivateKey:
    if "BEGIN ENCRYPTED" in text or ",ENCRYPTED" in text:
        raise _wrong(place, "the key is encrypted; decrypt it: openssl pkey -in KEY -out PLAIN")
    if "BEGIN PUBLIC KEY" in text or "BEGIN CERTIFICATE" in text:
        raise _wrong(place, f"not a private key; {_WANTED}")
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # and no context: it may quote the secret
    match key:
        case None:
            raise _wrong(place, f"a PEM that cannot be read; {_WANTED}")
        case Ed25519PrivateKey():
            return key
        case EllipticCurvePrivateKey(curve=SECP256R1()):
            return key
        case EllipticCurvePrivateKey(curve=curve):
            raise _wrong(place, f"an EC key on {curve.name}; Coinbase's are on P-256 (secp256r1)")
    kind = type(key).__name__.removesuffix("PrivateKey")
    raise _wrong(place, f"a key of another kind ({kind}); {_WANTED}")


def _load_seed(text: str, place: str) -> Ed25519PrivateKey:
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raw = b""
    if len(raw) not in (32, 64):
        raise _wrong(place, f"neither PEM nor base64 of 32 or 64 bytes; {_WANTED}")
    key = Ed25519PrivateKey.from_private_bytes(raw[:32])
    if raw[32:] not in (b"", key.public_key().public_bytes_raw()):
        raise _wrong(place, "the two halves of the Ed25519 key do not belong together")
    return key


def _wrong(place: str, text: str) -> ConfigError:
    return ConfigError([Problem(place, text)])
