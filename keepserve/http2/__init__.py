"""The HTTP/2 engines (RFC 9113), sans-I/O."""
