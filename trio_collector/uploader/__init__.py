"""The uploader: from sealed files on disk to where they are kept, and not off the disk before.

`task` says which file is tried next, with `backlog`, `schedule` and `report`; `delivery` is one file's
way into the store, verified step by step (`ladder`). The folder that is the queue is `spool`, where
local files go is `archive`. `s3` is the store over HTTP, with `client`, `signing`, `wire`, `answers`,
`addressing` and `multipart`. `probe` is `check --s3`.
"""
