"""HTTP/1.1: the sans-I/O engine and its two head parsers (floor 1)."""
