"""Fuzzing: `python -m tests.fuzz.NAME`."""
