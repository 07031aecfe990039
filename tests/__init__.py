"""The tests of trio_collector."""
