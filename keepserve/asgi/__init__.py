"""ASGI: loading the application, lifespan, and the one exchange every engine uses (floor 2)."""
