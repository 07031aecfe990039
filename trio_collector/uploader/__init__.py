"""The uploader: from sealed files on disk to where they are kept, and not off the disk before.

    wake-ups ─▶ task ─▶ spool (scan) ─▶ backlog ─▶ delivery ─▶ store        verification: proven there?
                 │                         ▲           └─────▶ local_archive, or unlinked
                 └─▶ report                └── retry_schedule: when the next attempt may begin

`task` decides which file is tried next, `delivery` is one file's way into the store. The folder
`data_dir` is the queue; `spool` reads it. All changes to the disk go through `disk.Disk`.

Doors: `app` starts `task.run_uploader` and gives it a `report.DeliveryState` to be shown; `check --s3`
runs `probe.probe_store`. The room knows the store by its protocol, and the writer not at all.
"""
