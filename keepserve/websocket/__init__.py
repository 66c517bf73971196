"""WebSocket (RFC 6455) without I/O, for both ways in: HTTP/1.1's Upgrade and HTTP/2's extended CONNECT (RFC 8441)."""
