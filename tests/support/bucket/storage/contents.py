"""What is in the bucket: objects, uploads in parts that are open, and how they are stored."""

import hashlib

import msgspec

from tests.support.bucket.request.body import Body, checksum_of, encode_digest
from tests.support.bucket.settings import Etags


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it lies in the bucket, whatever the client was told."""

    key: str
    size_bytes: int
    sha256: str  # hexadecimal, of the content; empty for parts of which no content is kept
    etag: str
    algorithm: str | None  # of the checksum, as in the headers' names
    checksum: str | None  # base64; of several parts, that of their checksums, and "-N"
    content: bytes | None
    stored_at: float  # Unix time
    writes: int = 1  # how many times the key was written
    parts: int = 0


class Part(msgspec.Struct, frozen=True):
    """A part of an upload that is open."""

    size_bytes: int
    etag: str
    md5: bytes
    checksum: bytes | None  # by the upload's algorithm
    content: bytes | None


class Upload(msgspec.Struct):
    """An upload in parts that is neither completed nor aborted."""

    upload_id: str
    key: str
    algorithm: str | None  # of the checksum that each part must have
    opened_at: float
    parts: dict[int, Part] = msgspec.field(default_factory=dict)


class Contents:
    """Everything that is stored; the rules of S3 are in the operations."""

    def __init__(self, *, is_created: bool, etags: Etags) -> None:
        self.is_created = is_created
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._etags = etags
        self._uploads_opened = 0

    def etag(self, md5: bytes) -> str:
        """Return the ETag of content with this MD5."""
        if self._etags == "md5":
            return f'"{md5.hex()}"'
        hidden = hashlib.sha256(md5).hexdigest()[:32]
        return f'"{hidden}"' if self._etags == "kms" else f'"opaque-{hidden}"'

    def store(self, key: str, body: Body, *, algorithm: str | None, now: float) -> StoredObject:
        """Put a whole object in its place, over what may be there."""
        return self._place(
            StoredObject(
                key=key,
                size_bytes=body.size_bytes,
                sha256=body.sha256.hex(),
                etag=self.etag(body.md5),
                algorithm=algorithm,
                checksum=encode_digest(body.checksum(algorithm)) if algorithm else None,
                content=body.content,
                stored_at=now,
            )
        )

    def open_upload(self, key: str, *, algorithm: str | None, now: float) -> Upload:
        self._uploads_opened += 1
        upload = Upload(f"upload-{self._uploads_opened}", key, algorithm, now)
        self.uploads[upload.upload_id] = upload
        return upload

    def add_part(self, upload: Upload, number: int, body: Body) -> Part:
        """Put a part in its place, over what may be there."""
        checksum = body.checksum(upload.algorithm) if upload.algorithm else None
        part = Part(body.size_bytes, self.etag(body.md5), body.md5, checksum, body.content)
        upload.parts[number] = part
        return part

    def join(self, upload: Upload, parts: list[Part], now: float) -> StoredObject:
        """Make an object of `parts` of `upload`, which is then no more."""
        del self.uploads[upload.upload_id]
        md5 = hashlib.md5(b"".join(part.md5 for part in parts), usedforsecurity=False).digest()
        contents = [part.content for part in parts if part.content is not None]
        content = b"".join(contents) if len(contents) == len(parts) else None
        return self._place(
            StoredObject(
                key=upload.key,
                size_bytes=sum(part.size_bytes for part in parts),
                sha256="" if content is None else hashlib.sha256(content).hexdigest(),
                etag=f'{self.etag(md5)[:-1]}-{len(parts)}"',
                algorithm=upload.algorithm,
                checksum=_composite(upload.algorithm, parts),
                content=content,
                stored_at=now,
                parts=len(parts),
            )
        )

    def corrupt(self, key: str) -> None:
        """Invert the first byte of an object, and describe it from now on as it then is."""
        stored = self.objects[key]
        content = stored.content or b"\0"
        wrong = Body()
        wrong.feed(bytes([content[0] ^ 0xFF]) + content[1:])
        self.objects[key] = msgspec.structs.replace(
            stored,
            sha256=wrong.sha256.hex(),
            etag=self.etag(wrong.md5),
            checksum=stored.algorithm and encode_digest(wrong.checksum(stored.algorithm)),
            content=wrong.content,
        )

    def _place(self, stored: StoredObject) -> StoredObject:
        if (earlier := self.objects.get(stored.key)) is not None:
            stored = msgspec.structs.replace(stored, writes=earlier.writes + 1)
        self.objects[stored.key] = stored
        return stored


def _composite(algorithm: str | None, parts: list[Part]) -> str | None:
    """Return the checksum of the checksums of `parts`."""
    if algorithm is None:
        return None
    joined = b"".join(part.checksum or b"" for part in parts)
    return f"{encode_digest(checksum_of(algorithm, joined))}-{len(parts)}"
