"""The files on disk, both ways: how rows are written down, and how they are read back.

    batches ─▶ columns ─▶ journal ─▶ X.arrows ─▶ journal_reader: whole appends, whatever
                          (append, sync)                        happened to the rest of the file
               header: what is the same for every row, and what each checksum starts from
    X.parquet ─▶ sealed_file: what it holds, against what its metadata claim

The writer writes journals and sealed files; recovery and the tools for the archive read them.
Nothing here waits, and nothing is imported but the vocabulary.
"""
