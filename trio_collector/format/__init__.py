"""The journal on disk, both ways: how rows are written down, and how they are read back.

    batches ─▶ columns ─▶ journal (append, sync)        header: what is the same for every row
                              └── file ─▶ journal_reader: whole appends, whatever happened to the rest

The writer writes it; recovery and the archive read it.
"""
