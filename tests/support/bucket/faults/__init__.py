"""Faults of a bucket: the script, and their effects on a response."""
