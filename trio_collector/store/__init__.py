"""The object store: S3 and what speaks like it, as the few calls that delivery is made of.

    object_store (the protocol) ◀── s3 ─▶ client (keys, signature, meaning) ─▶ http ─▶ the bucket
                                    └── multipart, for large files
    local_file, body, digest: what is sent, in parts, and what identifies it

The uploader delivers through it. It knows nothing of the spool.
"""
