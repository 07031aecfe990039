"""The configuration: what may stand in the file, and every judgement of it that needs no network.

    file ─▶ toml (tables to structs) ─▶ settings (the sections) ─▶ sharding (one part of the markets)
                                          └── markets, urls (what can be wrong with each)

Everybody may read it; it imports nothing but the vocabulary.
"""
