"""The object store: S3 and compatible servers, as the few calls that delivery needs.

    object_store (the protocol) ◀── s3 ─▶ client (keys, signature) ─▶ http ─▶ the bucket
                                    │       └── responses: what a status and an XML body mean
                                    └── multipart, for large files
    local_file, body, digest        what is sent, in parts, and what identifies it
    addressing, credentials, signing   the URL, the keys and the signature of a request

Doors: the uploader uses `object_store`, `local_file` and `digest`, and opens a bucket by
`s3.open_store`. The room knows nothing of the spool and decides no retry but that of a single part.
"""
