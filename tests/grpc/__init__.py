"""gRPC as an ordinary ASGI application, with the real grpcio as its client."""
