"""A file is deleted only where the responses of the store prove that it has it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.store.digest import Digest, Hasher, digest_of
from trio_collector.store.object_store import ObjectInfo
from trio_collector.uploader.verification import (
    Owner,
    Proof,
    contradiction,
    disagreement,
    plan_owner,
    plan_verification,
)


def identify(body: bytes) -> Digest:
    hasher = Hasher(len(body))
    hasher.feed(body)
    return hasher.finish()


OURS = identify(b"abc")
OTHERS = identify(b"abd")
LONGER = identify(b"abcd")
IN_PARTS = digest_of(3, [b"s" * 32, b"t" * 32], [b"m" * 16, b"n" * 16])

WHOLE = ObjectInfo(OURS.size, OURS.checksum, OURS.etag)


@pytest.mark.parametrize(
    "head",
    [
        WHOLE,
        WHOLE._replace(etag=None),
        WHOLE._replace(checksum=None),
        WHOLE._replace(etag=OTHERS.etag, is_encrypted=True),
        WHOLE._replace(etag="opaque"),
    ],
)
def test_proven(head: ObjectInfo) -> None:
    """Size and checksum prove it, or size and an ETag that is an MD5."""
    assert plan_verification(OURS, head) is Proof.PROVEN


@pytest.mark.parametrize(
    "head",
    [
        ObjectInfo(OURS.size),
        ObjectInfo(OURS.size, etag="opaque"),
        ObjectInfo(OURS.size, etag=OURS.etag, is_encrypted=True),
        ObjectInfo(
            OURS.size, etag=f"{OURS.etag}-1"
        ),  # made of parts, which says nothing of the whole
        ObjectInfo(OURS.size, checksum=OURS.checksum + "-2"),
        ObjectInfo(None, OURS.checksum, OURS.etag),
        ObjectInfo(),
    ],
)
def test_needs_reading(head: ObjectInfo) -> None:
    """Words that cannot be compared prove nothing: the object is read back."""
    assert plan_verification(OURS, head) is Proof.NEEDS_READING


@pytest.mark.parametrize(
    ("head", "proof"),
    [
        (WHOLE, Proof.NEEDS_MD5),
        (WHOLE._replace(etag="opaque"), Proof.PROVEN),
        (WHOLE._replace(is_encrypted=True), Proof.PROVEN),
        (ObjectInfo(OURS.size, etag=OURS.etag), Proof.NEEDS_MD5),
        (ObjectInfo(OURS.size, etag="opaque"), Proof.NEEDS_READING),
        (ObjectInfo(OURS.size, etag=OURS.etag, is_encrypted=True), Proof.NEEDS_READING),
        (ObjectInfo(4, etag=OURS.etag), Proof.CONTRADICTED),
    ],
)
def test_md5_on_demand(head: ObjectInfo, proof: Proof) -> None:
    """An MD5 is asked for only where there is an ETag to compare it with."""
    without_md5 = OURS._replace(etag=None)
    assert plan_verification(without_md5, head) is proof
    assert plan_verification(without_md5, head, put=head) is proof


@pytest.mark.parametrize(
    ("put", "has_checksum", "proof"),
    [
        (ObjectInfo(etag=IN_PARTS.etag), True, Proof.PROVEN),
        (ObjectInfo(etag="another"), True, Proof.NEEDS_MD5),
        (ObjectInfo(), True, Proof.NEEDS_MD5),
        (None, True, Proof.NEEDS_MD5),
        (ObjectInfo(etag=IN_PARTS.etag), False, Proof.NEEDS_MD5),
    ],
)
def test_md5_of_large_files(put: ObjectInfo | None, has_checksum: bool, proof: Proof) -> None:
    """For a file in parts, an ETag that PUT and HEAD agree on is enough beside the checksum."""
    head = ObjectInfo(IN_PARTS.size, IN_PARTS.checksum if has_checksum else None, IN_PARTS.etag)
    assert plan_verification(IN_PARTS._replace(etag=None), head, put) is proof


def test_disagreement() -> None:
    """Two ETags of one object mean that one answer is false."""
    assert disagreement(ObjectInfo(etag="a"), ObjectInfo(etag="b")) == "ETag a and b"
    assert disagreement(ObjectInfo(etag="a"), ObjectInfo(3, etag="a")) is None
    assert disagreement(ObjectInfo(), ObjectInfo(etag="a")) is None
    assert disagreement(ObjectInfo(etag="a"), ObjectInfo()) is None


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (WHOLE._replace(size=4), "4 bytes instead of 3"),
        (WHOLE._replace(checksum=OTHERS.checksum), "checksum .* instead of"),
        (WHOLE._replace(etag=OTHERS.etag), "ETag .* instead of"),
        (ObjectInfo(etag=OTHERS.etag), "ETag"),
    ],
)
def test_contradicted(head: ObjectInfo, fault: str) -> None:
    """One wrong word outweighs all the right ones."""
    assert plan_verification(OURS, head) is Proof.CONTRADICTED
    assert re.search(fault, contradiction(OURS, head) or "")


def test_parts() -> None:
    """Marks of parts compare with those of as many parts."""
    head = ObjectInfo(IN_PARTS.size, IN_PARTS.checksum, IN_PARTS.etag)
    assert plan_verification(IN_PARTS, head) is Proof.PROVEN
    whole = ObjectInfo(IN_PARTS.size, OTHERS.checksum, OTHERS.etag)
    assert plan_verification(IN_PARTS, whole) is Proof.NEEDS_READING
    of_three = ObjectInfo(IN_PARTS.size, OTHERS.checksum + "-3", f"{OTHERS.etag}-3")
    assert plan_verification(IN_PARTS, of_three) is Proof.NEEDS_READING
    false = head._replace(etag=f"{OTHERS.etag}-2")
    assert plan_verification(IN_PARTS, false) is Proof.CONTRADICTED


@pytest.mark.parametrize(
    ("head", "fetched", "owner"),
    [
        (ObjectInfo(3, etag="opaque"), OURS, Owner.OURS),
        # An ETag need not be an MD5; the content itself outweighs it, and only it.
        (WHOLE._replace(etag=OTHERS.etag, checksum=None), OURS, Owner.OURS),
        (WHOLE._replace(checksum=OTHERS.checksum), OURS, Owner.UNCLEAR),
        (WHOLE._replace(size=4), OURS, Owner.UNCLEAR),
        (ObjectInfo(3, OTHERS.checksum, OTHERS.etag), OTHERS, Owner.OTHERS),
        (ObjectInfo(4, etag=LONGER.etag), LONGER, Owner.OTHERS),
        (ObjectInfo(4, etag=OTHERS.etag, is_encrypted=True), LONGER, Owner.OTHERS),
        # HEAD lies, or GET does: nobody gives up a name for that.
        (WHOLE, OTHERS, Owner.UNCLEAR),
        (ObjectInfo(4, etag="opaque"), OTHERS, Owner.UNCLEAR),
    ],
)
def test_owner(head: ObjectInfo, fetched: Digest, owner: Owner) -> None:
    """An object is others' only if all that the store tells of it is one story."""
    assert plan_owner(OURS, head, fetched) is owner


marks = st.none() | st.sampled_from([OURS.checksum, OTHERS.checksum, OURS.etag, OTHERS.etag, ""])


@given(st.none() | st.integers(0, 5), marks, marks, st.booleans())
def test_proof_needs_size_and_mark(
    size: int | None, checksum: str | None, etag: str | None, is_encrypted: bool
) -> None:
    """Whatever a store says, proof is our size beside a checksum or an ETag of ours."""
    head = ObjectInfo(size, checksum, etag, is_encrypted)
    if plan_verification(OURS, head) is Proof.PROVEN:
        assert size == OURS.size
        assert checksum == OURS.checksum or (etag == OURS.etag and not is_encrypted)
