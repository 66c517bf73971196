"""WebSocket: the session by itself, and sockets over both transports."""
