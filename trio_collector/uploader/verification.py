"""The verification ladder: whether what a store says proves that it has what was sent.

A local file is deleted on PROVEN alone. From the cheapest to the surest:

1. HEAD tells our size and our checksum.
2. It tells no checksum: its ETag is the MD5 that ours has to be. With encryption by a key of the
   store (KMS, or a customer's key) an ETag has nothing to do with the content, and is not looked at.
3. It tells neither: the object is read back and hashed.

Whatever contradicts what was sent outweighs all that agrees: an ETag that looks like an MD5 has to be
ours beside a right checksum, too. Of a large file the MD5 takes as long as sending it; there it is
enough that PUT and HEAD tell the same ETag. Two ETags of one object mean that one of the answers is
false, whatever they are made of.
"""

import enum
import re

from trio_collector.store.digest import Digest
from trio_collector.store.object_store import ObjectInfo

_MD5_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")


class Proof(enum.Enum):
    """What the store's words are worth."""

    PROVEN = "proven"
    NEEDS_MD5 = "needs md5"  # of ours, to compare it with the ETag
    NEEDS_READING = "needs reading"  # nothing speaks against it, and nothing for it
    CONTRADICTED = "contradicted"


class Owner(enum.Enum):
    """Whose an object is that has the name of one of ours."""

    OURS = "ours"
    OTHERS = "others"
    UNCLEAR = "unclear"  # the store contradicts itself


def contradiction(digest: Digest, stored: ObjectInfo) -> str | None:
    """Return what of `stored` cannot be said of content with `digest`, in words."""
    if stored.size is not None and stored.size != digest.size:
        return f"{stored.size} bytes instead of {digest.size}"
    if _has_comparable_checksum(digest, stored) and stored.checksum != digest.checksum:
        return f"checksum {stored.checksum} instead of {digest.checksum}"
    if digest.etag and _has_comparable_etag(digest, stored) and stored.etag != digest.etag:
        return f"ETag {stored.etag} instead of {digest.etag}"
    return None


def disagreement(one: ObjectInfo, other: ObjectInfo) -> str | None:
    """Return in what two answers about one object differ, in words."""
    if one.etag and other.etag and one.etag != other.etag:
        return f"ETag {one.etag} and {other.etag}"
    return None


def plan_verification(digest: Digest, head: ObjectInfo, said: ObjectInfo | None = None) -> Proof:
    """Return what HEAD proves about an object that should be the content with `digest`.

    `said` is the answer to PUT, if it was just put.
    """
    if contradiction(digest, head):
        return Proof.CONTRADICTED
    if head.size is None:
        return Proof.NEEDS_READING
    has_checksum = _has_comparable_checksum(digest, head)
    if _has_comparable_etag(digest, head) and digest.etag is None:
        is_told_twice = said is not None and said.etag == head.etag
        if not (has_checksum and is_told_twice and digest.is_multipart):
            return Proof.NEEDS_MD5
    elif not has_checksum and not _has_comparable_etag(digest, head):
        return Proof.NEEDS_READING
    return Proof.PROVEN


def plan_origin(digest: Digest, head: ObjectInfo, fetched: Digest) -> Owner:
    """Return whose the object is that HEAD describes and that reads back as `fetched`.

    A name is given up to somebody else only where the store tells one coherent story: what came
    has to be what HEAD says. Else a lying header would send one file under two names.
    """
    if not fetched.is_same(digest):
        return Owner.UNCLEAR if contradiction(fetched, head) else Owner.OTHERS
    # The content itself outweighs an ETag, which need not be an MD5, but not the rest.
    return Owner.UNCLEAR if contradiction(digest, head._replace(etag=None)) else Owner.OURS


def _has_comparable_checksum(digest: Digest, stored: ObjectInfo) -> bool:
    """Return whether the checksum was made of as many parts as ours."""
    return stored.checksum is not None and _parts(stored.checksum) == _parts(digest.checksum)


def _has_comparable_etag(digest: Digest, stored: ObjectInfo) -> bool:
    """Return whether the ETag looks like an MD5 that was made of as many parts as ours."""
    if stored.etag is None or stored.is_encrypted or not _MD5_ETAG.fullmatch(stored.etag):
        return False
    return _parts(stored.etag) == _parts(digest.checksum)


def _parts(mark: str) -> str:
    """Return the number of parts behind a mark; "" for that of a whole. Base64 has no hyphen."""
    return mark.partition("-")[2]
