"""What a configuration asks for: which connections, and how long until all are subscribed."""
