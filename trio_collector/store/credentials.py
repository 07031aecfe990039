"""Where the keys to the bucket come from: the environment, or botocore's whole chain.

`AWS_ACCESS_KEY` and `AWS_SECRET_KEY`, the Rust collector's names, count where `AWS_ACCESS_KEY_ID`
is not set. Else botocore looks, in its order: environment, assumed role, web identity, SSO,
profile, container, instance. It renews expiring keys when it is
asked for them, over the network and slowly, so everything here runs in a worker thread, one call at a
time.
https://boto3.amazonaws.com/v1/documentation/api/latest/guide/credentials.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from trio_collector.errors import StoreError, StoreRejected, StoreUnavailable

_REMEDY = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or give the machine a role"
)

# botocore's own, the answer of STS, "refreshed ... still expired", a file that cannot be read.
_CHAIN_ERRORS = (BotoCoreError, ClientError, RuntimeError, OSError)


@dataclass(frozen=True, repr=False)
class AccessKeys:
    """Keys that belong together; botocore signs with them. They have no repr: they are secret."""

    access_key: str
    secret_key: str
    token: str | None = None

    def redact(self, text: str) -> str:
        """Return `text` without the secrets, because a server may echo what it was sent."""
        for secret in (self.secret_key, self.token):
            if secret:
                text = text.replace(secret, "***")
        return text


class CredentialChain:
    """The current keys. Every method blocks; no two may run at a time."""

    def __init__(
        self,
        environ: Mapping[str, str],
        new_session: Callable[[], Any] = botocore.session.Session,
    ) -> None:
        self._own = _own_keys(environ)
        self._new_session = new_session
        self._credentials: Any = None

    def freeze(self) -> AccessKeys:
        """Return keys for one attempt, renewed if they are about to expire.

        Raises StoreRejected if there are none, and StoreUnavailable if their source does not answer.
        """
        if self._own:
            return self._own
        try:
            if self._credentials is None:
                self._credentials = self._new_session().get_credentials()
            if self._credentials is None:
                raise StoreRejected("no credentials found", remedy=_REMEDY)
            frozen = self._credentials.get_frozen_credentials()
        except _CHAIN_ERRORS as exc:
            raise _as_store_error(exc) from exc
        if not frozen.access_key or not frozen.secret_key:
            raise StoreRejected("credentials are empty", remedy=_REMEDY)
        return AccessKeys(frozen.access_key, frozen.secret_key, frozen.token)

    def forget(self) -> None:
        """Drop the keys, which the store says have expired: the next call looks for new ones."""
        self._credentials = None


def _own_keys(environ: Mapping[str, str]) -> AccessKeys | None:
    if environ.get("AWS_ACCESS_KEY_ID"):
        return None
    access_key, secret_key = environ.get("AWS_ACCESS_KEY"), environ.get("AWS_SECRET_KEY")
    if not access_key or not secret_key:
        return None
    return AccessKeys(access_key, secret_key, environ.get("AWS_SESSION_TOKEN"))


def _as_store_error(exc: Exception) -> StoreError:
    """Return `exc` as ours. Only texts that name settings are passed on: others quote answers."""
    if isinstance(exc, ProfileNotFound | PartialCredentialsError | NoCredentialsError):
        return StoreRejected(f"no credentials: {exc}", remedy=_REMEDY)
    name = type(exc).__name__
    return StoreUnavailable(f"credentials could not be fetched: {name}", remedy=_REMEDY)
