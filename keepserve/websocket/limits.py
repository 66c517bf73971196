"""The numbers a WebSocket obeys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """Bytes, counts and seconds. Those up to ``ping_timeout`` are settings, the others the same for everybody."""

    max_message: int = 1024 * 1024
    """Largest message, after inflation; a larger one closes with 1009."""
    deflate: bool = False
    """Agree to permessage-deflate (RFC 7692) when the client offers it."""
    ping_interval: float = 24.0
    """Seconds between two pings; 0: none. They keep balancers from taking a quiet socket for an idle one."""
    ping_timeout: float = 20.0
    """Seconds without a sign of life after a ping; then 1011."""
    close_timeout: float = 5.0
    """Seconds the peer has to answer our close frame."""
    fragments: int = 1024
    """Most frames to a message, since each costs more than it carries if it carries nothing; more close with 1009."""
    queue: int = 32
    """Messages held for the application before no more are read."""
    control_frames: int = 1000
    """Most control frames in 10 seconds; more close with 1008."""
