"""From batches to sealed Parquet files: a row once written down is never lost.

    batches ─▶ pending ─▶ flusher ─▶ journals ─▶ sealer ─▶ sealed files ─▶ bell
               (rows in    (thread:   (disk)      (thread:   (the spool)
                memory)     append,                one at
                            sync)                  a time)

`task.py` starts and drains, `flusher.py` and `sealer.py` wait for their threads. All else is plain:
`pending.py`, `guard.py`, `rotation.py`, `columns.py` and the plan functions decide, `segment.py`,
`journal.py`, `reader.py`, `parquet.py` and `recovery.py` act on the disk, and every change they make
to it goes through `disk.py`.
"""
