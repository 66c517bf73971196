"""What an engine with one exchange at a time has no need of: the multiplexed half of the engine interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keepserve.wire.engine import Event, Request


class OneAtATime:
    """The base of such engines: nothing waits in them, and nothing has to be shared."""

    __slots__ = ()

    multiplexed = False
    push_allowed = False
    glitches = peer_resets = 0
    pending: Mapping[int, object] = {}
    relieved: list[int] = []  # noqa: RUF012  # shared, since nothing is ever put into it

    def taken(self, stream: int, amount: int, now: float) -> None:
        """The application has taken some of the body; what makes room here is reading the socket again."""

    def pump(self, now: float) -> None:
        """Everything is put out at once."""

    def push(
        self, request: Request, scheme: bytes, target: bytes, fields: list[tuple[bytes, bytes]]
    ) -> Request | None:
        """Only what was asked is answered."""
        return None

    def conclude(self) -> None:
        """What a response has to say of the connection's end, it says in its head."""

    def calm(self, detail: str, now: float) -> Sequence[Event]:
        """One request runs at a time, and that is never too much."""
        return ()
