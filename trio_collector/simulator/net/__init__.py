"""The simulator on sockets: listeners, TLS, handshakes, one client's connection, and its end."""
