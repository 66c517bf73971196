"""The two head parsers: each decides whether a whole head is well formed.

Only heads go through a library. Bodies are framed by ``keepserve.http1.body``, because neither
library bounds chunk overhead and h11 takes sloppy chunk sizes; and because a parser that never
sees a body can be shared by all connections of a worker, which saves its memory on each of them.

What is in an accepted head is read by ``keepserve.http1.head.read_fields``, once for both: a
callback for each field would cost more than the parsing, and h11 rewrites some fields.
"""

from __future__ import annotations

import re
from typing import Protocol

import h11
import httptools

from keepserve.wire.fields import VISIBLE

_CODING_WITH_TAB = re.compile(rb"\r\ntransfer-encoding:[^\r]*\t\r\n", re.IGNORECASE)


class HeadRejected(Exception):
    """The parser refused a head that the guard had let through; ``args[0]`` is its reason."""


class HeadParser(Protocol):
    """Tells well-formed heads from others."""

    def check(self, head: bytes) -> None:
        """Return if the head is well formed. Raises ``HeadRejected``."""

    def reset(self) -> None:
        """The last head announced a body, an upgrade or the close: be ready for an unrelated one all the same."""


class HttptoolsParser:
    """llhttp through httptools: the default."""

    def __init__(self) -> None:
        self.reset()

    def check(self, head: bytes) -> None:
        """Return if the head is well formed. Raises ``HeadRejected``."""
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self.reset()  # raised at the end of any head with "Connection: upgrade", whatever our answer will be
        except httptools.HttpParserError:
            # llhttp ends a connection for reasons that are none to us, such as "Proxy-Connection: close", and
            # this parser serves many: what one client sent must never show in the answer to another.
            self.reset()
            self._check_afresh(head)

    def _check_afresh(self, head: bytes) -> None:
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self.reset()
        except httptools.HttpParserError as error:
            self.reset()
            raise HeadRejected(str(error)) from None

    def reset(self) -> None:
        """Start afresh: llhttp now waits for a body that we read ourselves, or refuses to go on after "close"."""
        self._parser = httptools.HttpRequestParser(None)  # nobody to call back


class H11Parser:
    """h11, plain Python: the independent second opinion, and the fallback where C code is unwanted."""

    def check(self, head: bytes) -> None:
        """Return if the head is well formed. Raises ``HeadRejected``."""
        # What llhttp refuses and h11 takes: control characters, bare CR or LF, folded fields (RFC 9112 §2.2, §5.2).
        if len(head.translate(None, VISIBLE)) != 2 * head.count(b"\r\n") or b"\r\n " in head or b"\r\n\t" in head:
            raise HeadRejected("control characters or a folded field")
        if _CODING_WITH_TAB.search(head) is not None:
            raise HeadRejected("white space behind Transfer-Encoding")  # llhttp takes none but spaces there
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
        try:
            connection.receive_data(head)
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise HeadRejected(str(error)) from None
        if not isinstance(event, h11.Request):
            raise HeadRejected("the head is not a whole request")

    def reset(self) -> None:
        """Nothing to forget: each head has a connection object of its own."""


PARSERS: dict[str, type[HeadParser]] = {"httptools": HttptoolsParser, "h11": H11Parser}
"""The choices of ``--http1``."""
