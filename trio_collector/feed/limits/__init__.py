"""What an exchange allows, shared by all feeds: rates, the queue, and the time that a start takes."""
