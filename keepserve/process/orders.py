"""What supervisor and worker say to each other over their socket pair: one byte per message.

A pipe rather than signals, because others send signals too: systemd's default sends SIGTERM to every
process of a service, and a worker must not take the second one it gets for the order to hurry. The end of
the stream is a message as well: the other side is gone.
"""

from __future__ import annotations

from enum import Enum


class Order(bytes, Enum):
    """From the supervisor to a worker."""

    STOP = b"s"
    """Stop gracefully: the whole server stops, and with it the listening sockets."""
    STOP_INTERACTIVE = b"i"
    """Stop gracefully, but do not wait for idle connections: somebody sits at the terminal."""
    LEAVE = b"l"
    """Leave gracefully: others go on serving and have the listening sockets."""
    LEAVE_AT_ONCE = b"q"
    """Leave, but do not wait for idle connections: a developer waits for the new code."""
    HURRY = b"h"
    """Cancel what still runs and leave within a second."""
    REOPEN = b"o"
    """Open the log files anew."""
    DUMP = b"d"
    """Log what every running request is doing."""


READY = b"r"
"""From a worker to the supervisor: started, and listening."""
