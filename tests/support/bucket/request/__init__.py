"""What a request says, verified: head, body, operation and signature."""
