"""From batches to sealed Parquet files: rows that were written to a journal are never lost.

    batches ─▶ row buffer ─▶ flusher ─▶ journals ─▶ sealer ─▶ sealed files ─▶ wake the uploader
               (memory)      (waits)    (thread:    (waits)   (thread: one
                                         append,               at a time)
                                         sync)

`app.py` starts `task.py` and holds `lock.py` around it; nothing else comes in. Files that wait:
`task.py` receives and drains, `flusher.py` and `sealer.py` wait for their threads. Files that
decide: `row_buffer.py` (which rows are due), `disk_guard.py` (which are kept), `rotation.py` (when a
segment ends) and the plans of `recovery.py`. Files that act on the disk, in a thread: `journals.py`,
`segment.py`, `seal.py` and `recovery.py`. Every change they make to it goes through
`trio_collector/disk.py`; the file formats are those of `format/`.
"""
