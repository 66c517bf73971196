"""Settings: one dataclass, where each value came from, and what is wrong with it (floor 0)."""
