"""Redaction: secrets are removed from log lines at the last moment, from the finished text.

Everything that a line is made of (fields, an exception's message, its traceback, a library's words)
is text in the end, so nothing bypasses this. Three filters, each for what passes the others:

* values that are known to be secret, such as the key in `$AWS_SECRET_KEY`, wherever they occur;
* fields that are secret by their name, such as `token=...`, before the line is rendered;
* patterns that only secrets match: private keys, JWTs, signatures in URLs, `Authorization`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"

# A shorter value is more likely a word than a secret, and would be removed from every line.
MIN_SECRET_CHARS = 8

_NAMES = re.compile(
    r"secret|passw(or)?d|token|authorization|credential|signature|cookie"
    r"|(api|access|private)_?key",
    re.IGNORECASE,
)
_PATTERNS = (
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL
    ),
    # RFC 7519: a header, claims and a signature, each in base64url; `{"` is `eyJ` there.
    re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"),
    re.compile(r"(?i)(?<=x-amz-signature=)[^&\s\"']+"),
    re.compile(r"(?i)(?<=x-amz-security-token[=:])\s*[^&\s\"',}]+"),
    re.compile(r"(?i)(?<=x-amz-credential=)[^&\s\"']+"),
    re.compile(r"(?i)(?<=bearer )\s*[\w.~+/=-]{8,}"),
    re.compile(r"(?i)(?<=authorization: )basic\s+[\w+/=-]+"),
    re.compile(r"(?<=Signature=)[0-9a-f]{16,}"),
    re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"),  # user:password@ of a URL
)


def secret_values(environ: Mapping[str, str]) -> set[str]:
    """Return the values in `environ` that are secret by their variable's name.

    A variable whose name ends in `_FILE` holds a path, not a secret. Of a value of several lines,
    such as a private key, each line is a secret, too: a message may quote a part of it.
    """
    found: set[str] = set()
    for name, value in environ.items():
        if _NAMES.search(name) and not name.upper().endswith("_FILE"):
            lines = value.replace("\\n", "\n").splitlines()
            found.update(line for line in (value, *lines) if not line.startswith("-----"))
    return {value for value in found if len(value) >= MIN_SECRET_CHARS}


def redact_fields(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Replace the values of fields that are secret by their name, at any depth."""
    return {name: _redacted(name, value) for name, value in event_dict.items()}


def _redacted(name: str, value: Any) -> Any:
    if _NAMES.search(name):
        return REDACTED
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), item) for key, item in value.items()}
    return value


class Redactor:
    """Removes known secrets, and what matches a secret's pattern, from finished lines."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        # The longest first: a secret may contain another.
        known = sorted(map(re.escape, spellings), key=len, reverse=True)
        self._patterns = (*((re.compile("|".join(known)),) if known else ()), *_PATTERNS)

    def __call__(self, _logger: WrappedLogger, _method: str, line: str) -> str:
        for pattern in self._patterns:
            line = pattern.sub(REDACTED, line)
        return line


def _spellings(secret: str) -> set[str]:
    """Return the spellings of `secret` in a line: plain, in JSON, and by repr()."""
    as_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {secret, *as_json, repr(secret)[1:-1], json.dumps(repr(secret))[2:-2]}
