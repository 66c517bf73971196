"""The two head parsers: a whole, already guarded head in, its fields out.

Only heads go through a library. Bodies are framed by ``keepserve.http1.body``, because neither
library bounds chunk overhead and h11 takes sloppy chunk sizes; and because a parser that never
sees a body can be shared by all connections of a worker, which saves its memory on each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import h11
import httptools

from keepserve.wire.engine import Fields
from keepserve.wire.fields import VISIBLE


class HeadRejected(Exception):
    """The parser refused a head that the guard had let through; ``args[0]`` is its reason."""


class HeadParser(Protocol):
    """Turns the bytes of one head into its fields."""

    def fields(self, head: bytes) -> Fields:
        """Return lower-case names and stripped values in wire order. Raises ``HeadRejected``."""

    def reset(self) -> None:
        """The last head announced a body, an upgrade or the close: be ready for an unrelated one all the same."""


class HttptoolsParser:
    """llhttp through httptools: the default.

    A callback in Python for each field would cost more than the parsing. So llhttp's fields go
    straight into a dictionary, by its ``setdefault``; a head in which a name stands twice shows by
    the number of its lines, and only such a head is read again with a callback of ours.
    """

    def __init__(self) -> None:
        self._once: dict[bytes, bytes] = {}
        self._collector = _Collector(self._once.setdefault)
        self.reset()

    def fields(self, head: bytes) -> Fields:
        """Return lower-case names and stripped values in wire order. Raises ``HeadRejected``."""
        once = self._once
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self.reset()  # raised at the end of any head with "Connection: upgrade", whatever our answer will be
        except httptools.HttpParserError:
            once.clear()
            # llhttp ends a connection for reasons that are none to us, such as "Proxy-Connection: close", and
            # this parser serves many: what one client sent must never show in the answer to another.
            return self._fields_afresh(head)
        if len(once) != head.count(b"\r\n") - 2:
            once.clear()
            return self._fields_afresh(head)
        fields = [(name.lower(), value) for name, value in once.items()]
        once.clear()
        # find, not "in": for bytes that first tries the needle as a number, by way of an exception.
        if head.find(b" \r\n") >= 0 or head.find(b"\t\r\n") >= 0:
            return [(name, value.rstrip(b" \t")) for name, value in fields]
        return fields

    def _fields_afresh(self, head: bytes) -> Fields:
        """Read a head with a parser that has seen nothing, field by field."""
        self.reset()
        fields: Fields = []
        try:
            httptools.HttpRequestParser(
                _Collector(lambda name, value: fields.append((name.lower(), value.rstrip(b" \t"))))
            ).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise HeadRejected(str(error)) from None
        return fields

    def reset(self) -> None:
        """Start afresh: llhttp now waits for a body that we read ourselves, or refuses to go on after "close"."""
        self._parser = httptools.HttpRequestParser(self._collector)


class _Collector:
    """What httptools calls back: only for fields."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], object]) -> None:
        self.on_header = on_header


class H11Parser:
    """h11, plain Python: the independent second opinion, and the fallback where C code is unwanted."""

    def fields(self, head: bytes) -> Fields:
        """Return lower-case names and stripped values in wire order. Raises ``HeadRejected``."""
        # What llhttp refuses and h11 takes: control characters, bare CR or LF, folded fields (RFC 9112 §2.2, §5.2).
        if len(head.translate(None, VISIBLE)) != 2 * head.count(b"\r\n") or b"\r\n " in head or b"\r\n\t" in head:
            raise HeadRejected("control characters or a folded field")
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
        try:
            connection.receive_data(head)
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise HeadRejected(str(error)) from None
        if not isinstance(event, h11.Request):
            raise HeadRejected("the head is not a whole request")
        # As they were sent: h11 rewrites Content-Length ("4, 4" and a repeated "4" become "4") and Transfer-Encoding.
        fields: Fields = []
        for line in head.split(b"\r\n")[1:-2]:
            name, _, value = line.partition(b":")
            name = name.lower()
            if name == b"transfer-encoding" and value.endswith(b"\t"):
                raise HeadRejected("white space behind Transfer-Encoding")  # llhttp takes none but spaces there
            fields.append((name, value.strip(b" \t")))
        return fields

    def reset(self) -> None:
        """Nothing to forget: each head has a connection object of its own."""


PARSERS: dict[str, type[HeadParser]] = {"httptools": HttptoolsParser, "h11": H11Parser}
"""The choices of ``--http1``."""
