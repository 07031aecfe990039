"""What ids prove: sequence checks, gaps that may still be filled, arbitration of lines."""
