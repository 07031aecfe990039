"""A file is deleted only where the store's words prove that it has it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.uploader.digest import Digest, Hasher, digest_of
from trio_collector.uploader.ladder import (
    Origin,
    Verdict,
    contradiction,
    disagreement,
    plan_origin,
    plan_verification,
)
from trio_collector.uploader.store import Stored


def identify(body: bytes) -> Digest:
    hasher = Hasher(len(body))
    hasher.feed(body)
    return hasher.finish()


OURS = identify(b"abc")
OTHERS = identify(b"abd")
LONGER = identify(b"abcd")
IN_PARTS = digest_of(3, [b"s" * 32, b"t" * 32], [b"m" * 16, b"n" * 16])

WHOLE = Stored(OURS.size, OURS.checksum, OURS.etag)


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
def test_proven(head: Stored) -> None:
    """Size and checksum prove it, or size and an ETag that is an MD5."""
    assert plan_verification(OURS, head) is Verdict.PROVEN


@pytest.mark.parametrize(
    "head",
    [
        Stored(OURS.size),
        Stored(OURS.size, etag="opaque"),
        Stored(OURS.size, etag=OURS.etag, is_encrypted=True),
        Stored(OURS.size, etag=f"{OURS.etag}-1"),  # made of parts, which says nothing of the whole
        Stored(OURS.size, checksum=OURS.checksum + "-2"),
        Stored(None, OURS.checksum, OURS.etag),
        Stored(),
    ],
)
def test_needs_reading(head: Stored) -> None:
    """Words that cannot be compared prove nothing: the object is read back."""
    assert plan_verification(OURS, head) is Verdict.NEEDS_READING


@pytest.mark.parametrize(
    ("head", "verdict"),
    [
        (WHOLE, Verdict.NEEDS_MD5),
        (WHOLE._replace(etag="opaque"), Verdict.PROVEN),
        (WHOLE._replace(is_encrypted=True), Verdict.PROVEN),
        (Stored(OURS.size, etag=OURS.etag), Verdict.NEEDS_MD5),
        (Stored(OURS.size, etag="opaque"), Verdict.NEEDS_READING),
        (Stored(OURS.size, etag=OURS.etag, is_encrypted=True), Verdict.NEEDS_READING),
        (Stored(4, etag=OURS.etag), Verdict.CONTRADICTED),
    ],
)
def test_md5_on_demand(head: Stored, verdict: Verdict) -> None:
    """An MD5 is asked for only where there is an ETag to compare it with."""
    without_md5 = OURS._replace(etag=None)
    assert plan_verification(without_md5, head) is verdict
    assert plan_verification(without_md5, head, said=head) is verdict


@pytest.mark.parametrize(
    ("said", "has_checksum", "verdict"),
    [
        (Stored(etag=IN_PARTS.etag), True, Verdict.PROVEN),
        (Stored(etag="another"), True, Verdict.NEEDS_MD5),
        (Stored(), True, Verdict.NEEDS_MD5),
        (None, True, Verdict.NEEDS_MD5),
        (Stored(etag=IN_PARTS.etag), False, Verdict.NEEDS_MD5),
    ],
)
def test_md5_of_large_files(said: Stored | None, has_checksum: bool, verdict: Verdict) -> None:
    """For a file in parts, an ETag that PUT and HEAD agree on is enough beside the checksum."""
    head = Stored(IN_PARTS.size, IN_PARTS.checksum if has_checksum else None, IN_PARTS.etag)
    assert plan_verification(IN_PARTS._replace(etag=None), head, said) is verdict


def test_disagreement() -> None:
    """Two ETags of one object mean that one answer is false."""
    assert disagreement(Stored(etag="a"), Stored(etag="b")) == "ETag a and b"
    assert disagreement(Stored(etag="a"), Stored(3, etag="a")) is None
    assert disagreement(Stored(), Stored(etag="a")) is None


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (WHOLE._replace(size=4), "4 bytes instead of 3"),
        (WHOLE._replace(checksum=OTHERS.checksum), "checksum .* instead of"),
        (WHOLE._replace(etag=OTHERS.etag), "ETag .* instead of"),
        (Stored(etag=OTHERS.etag), "ETag"),
    ],
)
def test_contradicted(head: Stored, fault: str) -> None:
    """One wrong word outweighs all the right ones."""
    assert plan_verification(OURS, head) is Verdict.CONTRADICTED
    assert re.search(fault, contradiction(OURS, head) or "")


def test_parts() -> None:
    """Marks of parts compare with those of as many parts."""
    head = Stored(IN_PARTS.size, IN_PARTS.checksum, IN_PARTS.etag)
    assert plan_verification(IN_PARTS, head) is Verdict.PROVEN
    whole = Stored(IN_PARTS.size, OTHERS.checksum, OTHERS.etag)
    assert plan_verification(IN_PARTS, whole) is Verdict.NEEDS_READING
    false = head._replace(etag=f"{OTHERS.etag}-2")
    assert plan_verification(IN_PARTS, false) is Verdict.CONTRADICTED


@pytest.mark.parametrize(
    ("head", "fetched", "origin"),
    [
        (Stored(3, etag="opaque"), OURS, Origin.OURS),
        # An ETag need not be an MD5; the content itself outweighs it, and only it.
        (WHOLE._replace(etag=OTHERS.etag, checksum=None), OURS, Origin.OURS),
        (WHOLE._replace(checksum=OTHERS.checksum), OURS, Origin.UNCLEAR),
        (WHOLE._replace(size=4), OURS, Origin.UNCLEAR),
        (Stored(3, OTHERS.checksum, OTHERS.etag), OTHERS, Origin.OTHERS),
        (Stored(4, etag=LONGER.etag), LONGER, Origin.OTHERS),
        (Stored(4, etag=OTHERS.etag, is_encrypted=True), LONGER, Origin.OTHERS),
        # HEAD lies, or GET does: nobody gives up a name for that.
        (WHOLE, OTHERS, Origin.UNCLEAR),
        (Stored(4, etag="opaque"), OTHERS, Origin.UNCLEAR),
    ],
)
def test_origin(head: Stored, fetched: Digest, origin: Origin) -> None:
    """An object is others' only if all that the store tells of it is one story."""
    assert plan_origin(OURS, head, fetched) is origin


marks = st.none() | st.sampled_from([OURS.checksum, OTHERS.checksum, OURS.etag, OTHERS.etag, ""])


@given(st.none() | st.integers(0, 5), marks, marks, st.booleans())
def test_proof_needs_size_and_mark(
    size: int | None, checksum: str | None, etag: str | None, is_encrypted: bool
) -> None:
    """Whatever a store says, proof is our size beside a checksum or an ETag of ours."""
    head = Stored(size, checksum, etag, is_encrypted)
    if plan_verification(OURS, head) is Verdict.PROVEN:
        assert size == OURS.size
        assert checksum == OURS.checksum or (etag == OURS.etag and not is_encrypted)
