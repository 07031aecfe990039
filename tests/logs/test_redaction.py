"""No secret reaches a line, in whatever way."""

import json

import pytest

from trio_collector.logs.redaction import REDACTED, Redactor, redact_fields, secret_values

CANARY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY\"EX'AMPLE\\KEY"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIKcanarycanary0\nAwEHoUQDQgAEcanary1\n-----END EC PRIVATE KEY-----\n"
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-canary_"


@pytest.mark.parametrize("spell", [str, repr, json.dumps, lambda text: json.dumps(repr(text))])
def test_known_secrets(spell: "type[str]") -> None:
    """A known secret is removed: plain, in JSON, by repr(), and by repr() in JSON."""
    line = f"before {spell(CANARY)} after"
    redacted = Redactor([CANARY])(None, "", line)
    assert redacted.replace('"', "").replace("'", "").replace("\\", "") == (
        f"before {REDACTED} after"
    )


def test_a_secret_within_another() -> None:
    """The longer of two secrets is removed whole."""
    assert Redactor(["abcdefgh", "abcdefgh-ijkl"])(None, "", "x abcdefgh-ijkl") == f"x {REDACTED}"


@pytest.mark.parametrize(
    ("line", "canary"),
    [
        (f"key: {PEM} end", "canary"),
        (json.dumps({"key": PEM}), "canary"),
        (PEM[:60], "canary"),
        (f"sent {JWT} to it", "canary"),
        ("GET https://b.s3/k?X-Amz-Credential=canary%2F2026&X-Amz-Signature=canary", "canary"),
        ("x-amz-security-token:canary//canary==", "canary"),
        ("X-Amz-Security-Token=canary&x=1", "canary"),
        ("{'Authorization': 'Bearer canary.canary-canary'}", "canary"),
        ("Authorization: Basic Y2FuYXJ5OmNhbmFyeQ==", "Y2Fu"),
        ("AWS4-HMAC-SHA256 SignedHeaders=host, Signature=0123456789abcdef0123", "0123"),
        ("connect to https://user:canary@minio.example:9000/x", "canary"),
    ],
)
def test_shapes(line: str, canary: str) -> None:
    """What can only be a secret is removed though it is not known as one."""
    redacted = Redactor()(None, "", line)
    assert canary not in redacted
    assert REDACTED in redacted


@pytest.mark.parametrize(
    "line",
    [
        "wss://stream.binance.com:9443/stream",
        "a token is missing, and the signature is not accepted",
        "segment sealed path=data/parquet/okx/btcusdt/trade/2026-11-22/1795348800000.parquet",
        '{"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}',
        "bucket=s3.eu key=okx/btcusdt@2026:11/x",
    ],
)
def test_the_rest_stays(line: str) -> None:
    """Lines without secrets are left as they are."""
    assert Redactor()(None, "", line) == line


def test_fields_by_name() -> None:
    """A field that is secret by its name is emptied, also within a field."""
    fields = {
        "api_key": "canary",
        "request": {"headers": {"Authorization": "canary", "host": "x"}, "size": 3},
        "session_token": "canary",
        "key": "okx/btcusdt",
        "tries": 3,
    }
    assert redact_fields(None, "", fields) == {
        "api_key": REDACTED,
        "request": {"headers": {"Authorization": REDACTED, "host": "x"}, "size": 3},
        "session_token": REDACTED,
        "key": "okx/btcusdt",
        "tries": 3,
    }


def test_secret_values() -> None:
    """Secrets are the values of variables with such a name, except paths of files and short words."""
    found = secret_values(
        {
            "AWS_SECRET_KEY": "canary-aws-secret",
            "AWS_SESSION_TOKEN": "canary-aws-token",
            "COINBASE_API_KEY": "organizations/canary",
            "COINBASE_API_SECRET": PEM.replace("\n", "\\n"),
            "COINBASE_API_SECRET_FILE": "/run/secrets/coinbase.pem",
            "SOME_TOKEN": "short",
            "HOME": "/home/collector",
        }
    )
    assert {"canary-aws-secret", "canary-aws-token", "organizations/canary"} <= found
    assert {"MHcCAQEEIKcanarycanary0", "AwEHoUQDQgAEcanary1"} <= found
    assert not any("/run" in each or each == "short" or "/home" in each for each in found)
    assert "-----BEGIN EC PRIVATE KEY-----" not in found
