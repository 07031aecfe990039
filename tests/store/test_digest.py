"""Content is identified by hashes of parts, and the cut follows from the size alone."""

import base64
import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.store.digest import (
    MAX_PARTS,
    MULTIPART_ABOVE_BYTES,
    PART_BYTES,
    Digest,
    Hasher,
    Part,
    digest_of,
    new_md5,
    plan_parts,
)

ABC_SHA256 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="  # FIPS 180-2, appendix B.1
ABC_MD5 = "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321, A.5


def identify(body: bytes) -> Digest:
    hasher = Hasher(len(body))
    hasher.feed(body)
    return hasher.finish()


@given(st.integers(0, 1 << 42))
def test_cut(size: int) -> None:
    """Parts follow one another, cover the whole, and are neither too many nor too small."""
    if size > 100 << 30:
        size = size // 1000
    parts = plan_parts(size)
    assert sum(part.size for part in parts) == size
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert all(a.offset + a.size == b.offset for a, b in itertools.pairwise(parts))
    assert len(parts) <= MAX_PARTS
    assert all(part.size >= PART_BYTES for part in parts[:-1])
    assert (len(parts) == 1) == (size <= MULTIPART_ABOVE_BYTES)


def test_largest_object() -> None:
    """5 TB, the most that S3 takes, fit into 10,000 parts."""
    parts = plan_parts(5 * 10**12)
    assert len(parts) <= MAX_PARTS
    assert sum(part.size for part in parts) == 5 * 10**12


def test_marks_of_one_part() -> None:
    """A file in one piece has the well-known hashes of its content."""
    digest = identify(b"abc")
    assert (digest.size, digest.checksum, digest.etag) == (3, ABC_SHA256, ABC_MD5)


@pytest.mark.usefixtures("small_parts")
def test_marks_of_parts() -> None:
    """A file in parts has the hash of its parts' hashes, and their number."""
    bodies = [bytes([n]) * (5 << 20) for n in range(2)] + [b"rest"]
    digest = identify(b"".join(bodies))
    sha256 = hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies)).digest()
    assert digest.checksum == base64.b64encode(sha256).decode() + "-3"
    md5 = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
    assert digest.etag == f"{md5}-3"


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=8))
def test_chunks_do_not_matter(body: bytes, cuts: list[int]) -> None:
    """Content that comes in whatever chunks has one identity."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trio_collector.store.digest.MULTIPART_ABOVE_BYTES", 30)
        patch.setattr("trio_collector.store.digest.PART_BYTES", 10)
        hasher = Hasher(len(body))
        edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        for start, end in itertools.pairwise(edges):
            hasher.feed(body[start:end])
        assert hasher.missing == 0
        assert hasher.finish() == identify(body)


def test_missing_and_excess() -> None:
    """How much is missing is told, and excess counts below zero."""
    hasher = Hasher(3)
    hasher.feed(b"ab")
    assert hasher.missing == 1
    hasher.feed(b"cd")
    assert hasher.missing == -1


async def test_same_content() -> None:
    """Content is the same by size and checksum; an MD5 need not have been made."""
    assert identify(b"abc").is_same(identify(b"abc")._replace(etag=None))
    assert not identify(b"abc").is_same(identify(b"abd"))


def test_where_the_cut_begins() -> None:
    """64 MiB are one part, a byte more are five."""
    assert plan_parts(64 << 20) == [Part(1, 0, 64 << 20)]
    parts = plan_parts((64 << 20) + 1)
    assert [part.size for part in parts] == [16 << 20] * 4 + [1]
    assert parts[-1] == Part(5, 64 << 20, 1)


def test_longest_in_parts_of_the_usual_size() -> None:
    """Up to 10,000 parts of 16 MiB the cut is the same; larger content has larger parts."""
    usual = MAX_PARTS * PART_BYTES
    assert plan_parts(usual)[0].size == PART_BYTES
    assert len(plan_parts(usual)) == MAX_PARTS
    assert plan_parts(usual + 1)[0].size == PART_BYTES + 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_marks_from_hashes(count: int) -> None:
    """Of one part the marks are its hashes, of several the hash of them with their number."""
    sha256s = [hashlib.sha256(bytes([n])).digest() for n in range(count)]
    md5s = [hashlib.md5(bytes([n])).digest() for n in range(count)]
    digest = digest_of(7, sha256s, md5s)
    sha256 = sha256s[0] if count == 1 else hashlib.sha256(b"".join(sha256s)).digest()
    md5 = md5s[0] if count == 1 else hashlib.md5(b"".join(md5s)).digest()
    number = "" if count == 1 else f"-{count}"
    assert digest == Digest(7, base64.b64encode(sha256).decode() + number, md5.hex() + number)
    assert digest_of(7, sha256s) == digest._replace(etag=None)
    assert digest.is_multipart == (count > 1)


@pytest.mark.parametrize("chunk", [1, 7, 10, 20, 45, 100])
def test_chunks_across_parts(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks may end anywhere in a part, or hold several of them."""
    monkeypatch.setattr("trio_collector.store.digest.MULTIPART_ABOVE_BYTES", 30)
    monkeypatch.setattr("trio_collector.store.digest.PART_BYTES", 10)
    body = bytes(range(45))
    parts = [body[at : at + 10] for at in range(0, 45, 10)]
    hasher = Hasher(45)
    for at in range(0, 45, chunk):
        assert hasher.missing == 45 - at
        hasher.feed(body[at : at + chunk])
    assert hasher.missing == 0
    hashes = [[hash_of(part).digest() for part in parts] for hash_of in (hashlib.sha256, new_md5)]
    assert hasher.finish() == digest_of(45, *hashes)


def test_same_content_has_the_same_size_and_checksum() -> None:
    """Size and checksum both count."""
    digest = identify(b"abc")
    assert not digest.is_same(digest._replace(size=4))
    assert not digest.is_same(digest._replace(checksum="other"))
    assert digest.is_same(digest._replace(etag="other"))
