"""Whether a session is well: silence, unreadable frames, messages that change their kind."""
