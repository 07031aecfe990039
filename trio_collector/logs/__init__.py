"""The log: one line per event, for a person or a machine, without secrets, repetitions counted.

    log call ─▶ structlog ─▶ LogQueue: repeats ─▶ rendering (setup), redaction ─▶ a bounded queue
                                                                                       │
                                               stderr, daily_files ◀── a thread ◀──────┘

Doors: `setup` for the commands, `redaction.secret_values` beside it. Everybody else asks structlog
for a logger and logs a fixed phrase with fields.
"""
