"""From a URL to whole data messages: connect, TLS, the WebSocket, frames, and what ends it."""
