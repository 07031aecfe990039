"""Whole books for the readers of an archive: who has a snapshot, who needs one, fetching it by HTTP.

    a gap, a first message, a new segment ─▶ resync ─┬─▶ a new subscription, sent by the session
                                                     └─▶ fetch (HTTP) ─▶ a row of the book's stream
    snapshots         the latest snapshot of each book; outlives a session
    segment_starts    the writer announces a new segment; the feed sees that a snapshot follows

Only `feed` comes in; `app` passes `segment_starts` to the writer. `fetch` waits, the rest is pure.
"""
