"""Hostile input: each row of the table of attacks on HTTP/2, first on the engines, then on a running server."""
