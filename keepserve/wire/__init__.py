"""The engine interface, its events and the field syntax every HTTP engine shares (floor 1, sans-I/O)."""
