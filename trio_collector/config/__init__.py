"""The configuration: what a file may say, and every check that needs no network.

    file ─▶ loading ─▶ toml            a table becomes a struct, or a list of problems
               │         ├─ settings   the sections: every key, its type and default
               │         └─ markets    the tables [[markets]]
               ├─────▶ checks, market_checks, urls    contradictions between values
               ▼
            Config ─▶ sharding         the markets of one shard
               └────▶ checks.warnings  allowed, but likely a mistake

Doors: `loading` and `sharding` for commands and tests; `settings` and `markets` for everybody, who
read what they were given; `toml` also for the scripts of the simulator. Nothing is imported here but
the vocabulary of the package.
"""
