"""Logging: lines for people or machines, without secrets, repeated conditions counted.

    log call ─▶ setup (fields, redaction) ─▶ repeats ─▶ queue ─▶ a thread: stderr, daily_files

Only the command line sets it up; everybody else asks structlog for a logger.
"""
