"""Real-time order books and trades of five exchanges, from WebSockets into crash-proof Parquet."""

__version__ = "0.1.0"
