"""Verification: whether what a store says of an object proves that it has what was sent.

A local file is deleted only if its object is PROVEN. The proofs, from the cheapest to the surest:

1. HEAD shows our size and our checksum.
2. HEAD shows no checksum, but an ETag that is our MD5. An object that is encrypted with a key (of KMS
   or of the customer) has an ETag that does not depend on its content; it is ignored.
3. HEAD shows neither: the object is read back and hashed.

A contradiction outweighs any agreement: beside a right checksum, an ETag that looks like an MD5 has
to be ours as well. The MD5 of a large file takes as long as sending it; there it is enough that PUT
and HEAD show the same ETag. Two ETags of one object mean that one of the responses is wrong, however
the ETags are made.
"""

import enum
import re

from trio_collector.store.digest import Digest
from trio_collector.store.object_store import ObjectInfo

_MD5_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")


class Proof(enum.Enum):
    """What HEAD proves about an object."""

    PROVEN = enum.auto()
    NEEDS_MD5 = enum.auto()  # of the file, to compare the ETag with
    NEEDS_READING = enum.auto()  # neither proof nor contradiction
    CONTRADICTED = enum.auto()


class Owner(enum.Enum):
    """Whose object it is that has the name of one of our files."""

    OURS = enum.auto()
    OTHERS = enum.auto()
    UNCLEAR = enum.auto()  # the store contradicts itself


def contradiction(digest: Digest, stored: ObjectInfo) -> str | None:
    """Return in words what in `stored` is wrong for content with `digest`; None if nothing is."""
    if stored.size is not None and stored.size != digest.size:
        return f"{stored.size} bytes instead of {digest.size}"
    if _has_comparable_checksum(digest, stored) and stored.checksum != digest.checksum:
        return f"checksum {stored.checksum} instead of {digest.checksum}"
    if digest.etag and _has_comparable_etag(digest, stored) and stored.etag != digest.etag:
        return f"ETag {stored.etag} instead of {digest.etag}"
    return None


def disagreement(one: ObjectInfo, other: ObjectInfo) -> str | None:
    """Return in words how two responses about one object differ; None if they do not."""
    if one.etag and other.etag and one.etag != other.etag:
        return f"ETag {one.etag} and {other.etag}"
    return None


def plan_verification(digest: Digest, head: ObjectInfo, put: ObjectInfo | None = None) -> Proof:
    """Return what HEAD proves about an object that should be the content with `digest`.

    `put` is the response to PUT, if the object was stored just now.
    """
    if contradiction(digest, head):
        return Proof.CONTRADICTED
    if head.size is None:
        return Proof.NEEDS_READING
    has_checksum = _has_comparable_checksum(digest, head)
    if not _has_comparable_etag(digest, head):
        return Proof.PROVEN if has_checksum else Proof.NEEDS_READING
    if digest.etag is not None:
        return Proof.PROVEN
    is_same_etag = put is not None and put.etag == head.etag
    if digest.is_multipart and has_checksum and is_same_etag:
        return Proof.PROVEN
    return Proof.NEEDS_MD5


def plan_owner(digest: Digest, head: ObjectInfo, fetched: Digest) -> Owner:
    """Return whose the object is that HEAD describes and that reads back as `fetched`.

    A name is given up only where the store does not contradict itself: what was read back has to be
    what HEAD says. Otherwise a wrong header would send one file under two names.
    """
    if not fetched.is_same(digest):
        return Owner.UNCLEAR if contradiction(fetched, head) else Owner.OTHERS
    # The content itself outweighs an ETag, which need not be an MD5, but neither size nor checksum.
    return Owner.UNCLEAR if contradiction(digest, head._replace(etag=None)) else Owner.OURS


def _has_comparable_checksum(digest: Digest, stored: ObjectInfo) -> bool:
    """Return whether the checksum covers as many parts as ours."""
    return stored.checksum is not None and _parts(stored.checksum) == _parts(digest.checksum)


def _has_comparable_etag(digest: Digest, stored: ObjectInfo) -> bool:
    """Return whether the ETag looks like an MD5 of as many parts as ours."""
    if stored.etag is None or stored.is_encrypted or not _MD5_ETAG.fullmatch(stored.etag):
        return False
    return _parts(stored.etag) == _parts(digest.checksum)


def _parts(mark: str) -> str:
    """Return the number of parts that ends a mark; "" for one part. Base64 has no hyphen."""
    return mark.partition("-")[2]
