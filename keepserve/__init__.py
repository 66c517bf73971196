"""keepserve: an ASGI server that never closes a connection before its load balancer does."""
