"""HTTP/1.1 of the bucket: events, responses, and the errors of S3."""
