"""An application that raises when it is imported."""

raise LookupError("no such secret")
