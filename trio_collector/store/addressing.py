"""Where the bucket is: the URL of an object, by path or by virtual host.

    path      https://s3.eu-west-1.amazonaws.com/BUCKET/KEY
    virtual   https://BUCKET.s3.eu-west-1.amazonaws.com/KEY

"auto" takes the virtual host, as AWS recommends, unless it cannot work: a bucket with a dot in its
name does not match the certificate's wildcard, some characters may not stand in a host name, and an
address or a bare name (127.0.0.1, localhost, minio) has no subdomains.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
"""

import ipaddress
import re
import urllib.parse
from collections.abc import Iterable
from typing import NamedTuple

from trio_collector.config.settings import AwsSection

_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")

# The characters that are not quoted. The signature is computed over the quoted key, and a server
# that quotes differently rejects it.
_SAFE = "/-_.~"


class Address(NamedTuple):
    """Where a bucket is: `origin` is scheme and host, `path` is the prefix of each key."""

    origin: str
    path: str

    @property
    def host(self) -> str:
        """The Host header, without the default port of the scheme."""
        parts = urllib.parse.urlsplit(self.origin)
        default = ":443" if parts.scheme == "https" else ":80"
        return parts.netloc.removesuffix(default)

    def url(self, key: str = "", query: Iterable[tuple[str, str]] = ()) -> str:
        """Return the URL of the object `key`, or of the bucket."""
        path = f"{self.path}/{quote(key)}" if key or not self.path else self.path
        pairs = "&".join(f"{quote(name, '')}={quote(value, '')}" for name, value in query)
        return f"{self.origin}{path}" + (f"?{pairs}" if pairs else "")


def plan_address(aws: AwsSection) -> Address:
    """Return where the bucket of `aws` is."""
    endpoint = aws.endpoint_url or _aws_endpoint(aws.region)
    parts = urllib.parse.urlsplit(endpoint)
    base = parts.path.rstrip("/")
    scheme, netloc = parts.scheme.lower(), parts.netloc.lower()
    if _is_virtual(aws, parts.hostname or ""):
        return Address(f"{scheme}://{aws.bucket}.{netloc}", base)
    return Address(f"{scheme}://{netloc}", f"{base}/{quote(aws.bucket)}")


def quote(text: str, safe: str = _SAFE) -> str:
    """Return `text` percent-encoded for a URL."""
    return urllib.parse.quote(text, safe=safe)


def _is_virtual(aws: AwsSection, host: str) -> bool:
    if aws.addressing_style != "auto":
        return aws.addressing_style == "virtual"
    return bool(_HOST_LABEL.fullmatch(aws.bucket)) and "." in host and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _aws_endpoint(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{suffix}"
