"""Whole books for readers: who has a snapshot, who needs one, and fetching it by HTTP."""
