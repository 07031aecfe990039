"""Keys come from the environment or botocore's chain, and stay secret."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import ClientError, CredentialRetrievalError, ProfileNotFound

from trio_collector.errors import StoreError, StoreRejected, StoreUnavailable
from trio_collector.store.credentials import AccessKeys, CredentialChain


class Session:
    """botocore's session, as far as it is asked."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)

    def __call__(self) -> "Session":
        return self

    def get_credentials(self) -> Any:
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


@pytest.mark.parametrize(
    ("environ", "access_key"),
    [
        ({"AWS_ACCESS_KEY": "own", "AWS_SECRET_KEY": "s"}, "own"),
        ({"AWS_ACCESS_KEY": "own", "AWS_SECRET_KEY": "s", "AWS_ACCESS_KEY_ID": ""}, "own"),
        ({"AWS_ACCESS_KEY": "own", "AWS_SECRET_KEY": "s", "AWS_ACCESS_KEY_ID": "id"}, "chain"),
        ({"AWS_ACCESS_KEY": "own"}, "chain"),
        ({"AWS_SECRET_KEY": "s"}, "chain"),
        ({}, "chain"),
    ],
)
def test_order(environ: Mapping[str, str], access_key: str) -> None:
    """The Rust collector's names count unless AWS's own are set; then botocore decides."""
    session = Session(Credentials("chain", "chain-secret", "chain-token"))
    assert CredentialChain(environ, session).freeze().access_key == access_key


def test_chain_is_botocores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile in a file is found as every AWS tool finds it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    file.write_text("[archive]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "archive")
    assert CredentialChain({}).freeze() == AccessKeys("a", "b", None)
    monkeypatch.setenv("AWS_PROFILE", "another")
    with pytest.raises(StoreRejected, match="another"):
        CredentialChain({}).freeze()


def test_renewed_while_asked() -> None:
    """Keys that are about to expire are renewed when they are asked for, not before."""
    renewals: list[int] = []

    def renew() -> dict[str, str]:
        renewals.append(len(renewals))
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        return {
            "access_key": f"key{len(renewals)}",
            "secret_key": "s",
            "token": "t",
            "expiry_time": expiry.isoformat(),
        }

    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=5)
    old = RefreshableCredentials("key0", "s", "t", soon, renew, "test")
    chain = CredentialChain({}, Session(old))
    assert [chain.freeze().access_key for _ in range(2)] == ["key1", "key1"]
    assert len(renewals) == 1


def test_forget() -> None:
    """After a store found the keys expired they are looked for anew."""
    chain = CredentialChain({}, Session(Credentials("old", "s"), Credentials("new", "s")))
    assert chain.freeze().access_key == "old"
    chain.forget()
    assert chain.freeze().access_key == "new"


@pytest.mark.parametrize(
    ("result", "kind", "words"),
    [
        (None, StoreRejected, "no credentials found"),
        (Credentials("", ""), StoreRejected, "empty"),
        (ProfileNotFound(profile="archive"), StoreRejected, "archive"),
        (
            CredentialRetrievalError(provider="custom-process", error_msg="CANARY"),
            StoreUnavailable,
            "CredentialRetrievalError",
        ),
        (ClientError({"Error": {"Message": "CANARY"}}, "x"), StoreUnavailable, "ClientError"),
        (RuntimeError("still expired CANARY"), StoreUnavailable, "RuntimeError"),
    ],
)
def test_failures(result: Any, kind: type[StoreError], words: str) -> None:
    """No keys need a person; a source that does not answer needs time. Its words are not quoted."""
    with pytest.raises(kind, match=words) as caught:
        CredentialChain({}, Session(result)).freeze()
    assert caught.value.remedy
    assert "CANARY" not in str(caught.value)


def test_secrets_have_no_repr() -> None:
    """Keys do not show themselves, however they are printed."""
    keys = AccessKeys("CANARY1", "CANARY2", "CANARY3")
    assert "CANARY" not in f"{keys} {keys!r} {keys!s} {[keys]}"
    assert "CANARY" not in repr(
        CredentialChain({"AWS_ACCESS_KEY": "CANARY", "AWS_SECRET_KEY": "x"})
    )


def test_redacted() -> None:
    """A secret that comes back in an answer is taken out."""
    keys = AccessKeys("key", "secret", "token")
    assert keys.redact("a secret, a token and a key") == "a ***, a *** and a key"
    assert AccessKeys("key", "secret").redact("no token") == "no token"
