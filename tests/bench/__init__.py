"""Measurements: `python -m tests.bench.NAME`, each a program of its own."""
