"""Tokens for Coinbase."""

import base64
import textwrap

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from trio_collector.errors import ConfigError
from trio_collector.exchanges.coinbase_jwt import PrivateKey, Signer, load_signer, read_credentials

KEY_NAME = "organizations/0a/apiKeys/1b"
NOW_S = 1_790_000_000
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
RSA_KEY = rsa.generate_private_key(65537, 2048)
ED_SEED = ED_KEY.private_bytes_raw()
ED_PUBLIC = ED_KEY.public_key().public_bytes_raw()

SEC1 = PrivateFormat.TraditionalOpenSSL
PKCS8 = PrivateFormat.PKCS8
PLAIN = NoEncryption()
LOCKED = BestAvailableEncryption(b"pass")


def pem(
    key: PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    form: PrivateFormat = PKCS8,
    encryption: KeySerializationEncryption = PLAIN,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption).decode()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def public_pem(key: PrivateKey) -> str:
    info = PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(Encoding.PEM, info).decode()


GOOD = {
    "EC, SEC1": (pem(EC_KEY, SEC1), EC_KEY),
    "EC, PKCS#8": (pem(EC_KEY), EC_KEY),
    "EC, one line": (pem(EC_KEY, SEC1).replace("\n", "\\n"), EC_KEY),
    "EC, one line of CRLF": (pem(EC_KEY, SEC1).replace("\n", "\\r\\n"), EC_KEY),
    "EC, blanks around": (f"\n  {pem(EC_KEY)}\n\n", EC_KEY),
    "Ed25519, PKCS#8": (pem(ED_KEY), ED_KEY),
    "Ed25519, seed": (b64(ED_SEED), ED_KEY),
    "Ed25519, seed and public key": (b64(ED_SEED + ED_PUBLIC) + "\n", ED_KEY),
    "Ed25519, wrapped": ("\n".join(textwrap.wrap(b64(ED_SEED + ED_PUBLIC), 40)), ED_KEY),
}

BAD = {
    "encrypted PKCS#8": (pem(EC_KEY, PKCS8, LOCKED), "encrypted; decrypt it"),
    "encrypted SEC1": (pem(EC_KEY, SEC1, LOCKED), "encrypted; decrypt it"),
    "RSA": (pem(RSA_KEY), r"another kind \(RSA\)"),
    "public EC": (public_pem(EC_KEY), "not a private key"),
    "public Ed25519": (public_pem(ED_KEY), "not a private key"),
    "another curve": (pem(ec.generate_private_key(ec.SECP384R1())), "secp384r1"),
    "cut PEM": (pem(EC_KEY)[:100], "cannot be read"),
    "damaged PEM": (pem(EC_KEY).replace("M", "\\", 3), "cannot be read"),
    "no ASCII": (pem(EC_KEY).replace("M", "Ω"), "cannot be read"),
    "half a seed": (b64(ED_SEED[:16]), "neither PEM nor base64"),
    "no base64": ("correct horse battery staple", "neither PEM nor base64"),
    "no base64, no ASCII": ("пароль", "neither PEM nor base64"),
    "empty": (" ", "neither PEM nor base64"),
    "two keys in one": (b64(ED_SEED + ED_SEED), "do not belong together"),
}


@pytest.mark.parametrize(("secret", "key"), GOOD.values(), ids=GOOD)
def test_token_is_what_coinbase_checks(secret: str, key: PrivateKey) -> None:
    """Whatever form the key has, header and claims are those of Coinbase's own client."""
    signer = load_signer(KEY_NAME, secret)
    token = signer.token(NOW_S, "c0ffee")
    algorithm = "ES256" if key is EC_KEY else "EdDSA"
    assert jwt.get_unverified_header(token) == {
        "alg": algorithm,
        "kid": KEY_NAME,
        "nonce": "c0ffee",
        "typ": "JWT",
    }
    no_clock = {"verify_exp": False, "verify_nbf": False}
    claims = jwt.decode(token, key.public_key(), algorithms=[algorithm], options=no_clock)  # type: ignore[arg-type]  # PyJWT's Options lists all keys
    assert claims == {"sub": KEY_NAME, "iss": "cdp", "nbf": NOW_S, "exp": NOW_S + 120}


@pytest.mark.parametrize(("secret", "text"), BAD.values(), ids=BAD)
def test_wrong_secret_is_a_problem_with_a_place(secret: str, text: str) -> None:
    """What is wrong is said at its place, without the secret."""
    with pytest.raises(ConfigError, match=text) as caught:
        load_signer(KEY_NAME, secret, place="COINBASE_API_SECRET_FILE")
    assert [problem.place for problem in caught.value.problems] == ["COINBASE_API_SECRET_FILE"]
    assert caught.value.__context__ is None
    for piece in secret.split():
        assert len(piece) < 12 or piece not in str(caught.value)


def test_signer_does_not_show_its_secret() -> None:
    """Its text has the name of the key and the algorithm."""
    assert repr(Signer(KEY_NAME, ED_KEY)) == f"Signer({KEY_NAME!r}, EdDSA)"
    assert str(load_signer(KEY_NAME, pem(EC_KEY))) == f"Signer({KEY_NAME!r}, ES256)"


def read_secret(path: str) -> str:
    assert path == "key.pem"
    return pem(EC_KEY)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"COINBASE_API_KEY": "", "COINBASE_API_SECRET": "", "COINBASE_API_SECRET_FILE": ""},
        {"PATH": "/bin"},
    ],
)
def test_no_credentials_are_no_problem(environ: dict[str, str]) -> None:
    """Market data needs none; an empty variable is an unset one."""
    assert read_credentials(environ, read_secret) is None


def test_secret_comes_from_a_file_or_the_environment() -> None:
    """Each of the two is enough."""
    from_file = {"COINBASE_API_KEY": KEY_NAME, "COINBASE_API_SECRET_FILE": "key.pem"}
    from_text = {"COINBASE_API_KEY": f" {KEY_NAME}\n", "COINBASE_API_SECRET": b64(ED_SEED)}
    assert repr(read_credentials(from_file, read_secret)) == f"Signer({KEY_NAME!r}, ES256)"
    assert repr(read_credentials(from_text, read_secret)) == f"Signer({KEY_NAME!r}, EdDSA)"


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"COINBASE_API_KEY": "k"}, "COINBASE_API_SECRET_FILE: not set"),
        ({"COINBASE_API_SECRET": "s"}, "COINBASE_API_KEY: not set, but COINBASE_API_SECRET is"),
        (
            {"COINBASE_API_SECRET_FILE": "f"},
            "COINBASE_API_KEY: not set, but COINBASE_API_SECRET_FILE is",
        ),
        (
            {"COINBASE_API_KEY": "k", "COINBASE_API_SECRET": "s", "COINBASE_API_SECRET_FILE": "f"},
            "unset one of the two",
        ),
        ({"COINBASE_API_KEY": "k", "COINBASE_API_SECRET": "s"}, "COINBASE_API_SECRET: neither"),
    ],
)
def test_half_a_credential_is_a_problem(environ: dict[str, str], text: str) -> None:
    """A key without a secret, a secret without a key, and two secrets are said in words."""
    with pytest.raises(ConfigError, match=text):
        read_credentials(environ, read_secret)


def test_file_that_cannot_be_read_is_a_problem() -> None:
    """The path and the reason are told, and nothing of what the file holds."""
    environ = {"COINBASE_API_KEY": "k", "COINBASE_API_SECRET_FILE": "key.pem"}

    def missing(path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory", path)

    def binary(path: str) -> str:
        return b"\xff secret".decode()

    with pytest.raises(ConfigError, match=r"'key.pem' cannot be read: No such file"):
        read_credentials(environ, missing)
    with pytest.raises(ConfigError, match="not text") as caught:
        read_credentials(environ, binary)
    assert caught.value.__context__ is None
