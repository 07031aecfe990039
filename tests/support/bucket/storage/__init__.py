"""What is stored, and the operations on it."""
