"""What proxies in front say about the client (floor 1)."""
