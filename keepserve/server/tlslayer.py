"""One connection's TLS: bytes from the socket go in and plaintext comes out, and the other way round.

The standard library's ``ssl`` over two buffers in memory. No event loop, no socket and no clock is known here;
`keepserve.server.tlstransport` stands between this and the loop.

The buffers of OpenSSL's memory BIOs grow and never shrink, so that an idle connection would keep the size of the
largest thing it ever carried. Therefore nothing larger than one record is ever put into them.
"""

from __future__ import annotations

import re
import ssl

from keepserve.wire.engine import NEVER

RECORD = 16 * 1024
"""The most plaintext one record can hold (RFC 8446 §5.1): what is encrypted, and read from the BIO, at once."""

SLICE = 512
"""Records decrypted before other connections have their turn. Those of one byte cost as much as those of hundreds."""

BARREN = 64 * 1024
"""Bytes without any plaintext in them after which a client is cut off.

One record is a quarter of that. What is left are key updates and alerts, which cost us much and a client nothing.
"""

_HANDSHAKE = 0x16
"""The type of the record every TLS connection begins with (RFC 8446 §5.1)."""

_METHOD = re.compile(rb"[A-Za-z-]{1,15}")
_REQUEST = re.compile(rb"([A-Za-z-]{1,15}) ")
"""How HTTP begins."""

_TEXT = b"This port speaks TLS, and the request came in clear text: use https:// instead of http://.\n"


_UNEXPECTED = b"\x15\x03\x01\x00\x02\x02\x0a"
"""A fatal alert, unexpected_message (RFC 8446 §6)."""


class NotTls(ssl.SSLError):
    """The client does not begin as TLS does. ``answer`` is what it may understand."""

    answer = _UNEXPECTED


class CleartextRequest(NotTls):
    """It speaks HTTP, without TLS."""

    def __init__(self, method: bytes) -> None:
        super().__init__(f"an HTTP request in clear text ({method.decode('ascii')})")
        head = (
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(_TEXT)
        )
        self.answer = head if method == b"HEAD" else head + _TEXT


class TlsSession:
    """The server's end of one TLS connection, from its first byte on.

    ``context`` says how it is to be spoken; the handshake may take ``timeout`` seconds from ``now`` on, by the
    caller's clock. Until ``ready`` bytes go to `shake`, then to `receive`; after either `take` has what is to be
    sent. With a ``failure`` nothing more is read and nothing more should be sent than that.
    """

    __slots__ = (
        "_barren",
        "_first",
        "_incoming",
        "_outgoing",
        "backlog",
        "deadline",
        "ended",
        "failure",
        "ready",
        "tls",
    )

    def __init__(self, context: ssl.SSLContext, now: float, timeout: float) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        """What was agreed on: version, cipher, ALPN, the client's certificate."""
        self.deadline = now + timeout
        """When the handshake has to be done; ``NEVER`` once it is."""
        self.ready = False
        """The handshake is done."""
        self.ended = False
        """The peer has said close_notify: it sends no more (RFC 8446 §6.1)."""
        self.failure: ssl.SSLError | None = None
        """Why this connection cannot go on."""
        self._first: bytes | None = b""
        """The first bytes, as long as they may be anything; then None."""
        self.backlog = b""
        """What came and is not decrypted yet: `receive` nothing, in the next turn, to go on with it."""
        self._barren = 0

    # The handshake.

    @property
    def silent(self) -> bool:
        """Not one byte has come."""
        return self._first == b""

    def quiet_until(self, moment: float) -> None:
        """Wait no longer than to this moment for the first byte."""
        if self.silent:
            self.deadline = min(self.deadline, moment)

    def shake(self, data: bytes) -> None:
        """Take bytes from the peer, up to the end of the handshake; `receive` has what stands behind it."""
        if self._first is not None:
            data = self._first + data
            if data[0] != _HANDSHAKE:
                if match := _REQUEST.match(data):
                    self.failure = CleartextRequest(match[1])
                elif _METHOD.fullmatch(data):
                    self._first = data  # it may be a method yet
                else:
                    # Not to be left to OpenSSL, which takes it for a hello of SSL 2 and waits for more.
                    self.failure = NotTls(f"not TLS, and not HTTP either ({data[:16]!r})")
                return
            self._first = None
        for start in range(0, len(data), RECORD):
            self._incoming.write(data[start : start + RECORD])
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                self.failure = error
                return
            self.ready = True
            self.deadline = NEVER
            self.backlog = data[start + RECORD :]
            return

    # Reading.

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer; return what they say, or the first part of it if that is very many records."""
        if self.ended or self.failure is not None:
            return b""
        if self.backlog or len(data) > RECORD:
            return self._receive_much(data)
        pieces: list[bytes] = []
        self._decrypt(data, pieces)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _receive_much(self, data: bytes) -> bytes:
        data = self.backlog + data
        pieces: list[bytes] = []
        done = 0
        while done < len(data) and len(pieces) < SLICE and not self.ended and self.failure is None:
            self._decrypt(data[done : done + RECORD], pieces)
            done += RECORD
        self.backlog = data[done:] if not self.ended else b""
        return b"".join(pieces)

    def _decrypt(self, data: bytes, pieces: list[bytes]) -> None:
        incoming, read = self._incoming, self.tls.read
        incoming.write(data)
        before, size = len(pieces), max(len(data), 2048)
        try:
            while piece := read(size):  # RECORD would do as well, but getting and freeing so much takes its time
                pieces.append(piece)
                # Not to the end: an attempt that fails costs as much as the record did.
                if not incoming.pending and len(piece) < size:
                    break
            else:
                self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True  # we had said it, too
        except ssl.SSLError as error:
            self.failure = error
        if len(pieces) > before:
            self._barren = 0
        else:
            self._barren += len(data)
            if self._barren > BARREN and self.failure is None:
                self.failure = ssl.SSLError(f"more than {BARREN} bytes of TLS that carry nothing")

    # Writing.

    def send(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return what says ``data`` to the peer, and whatever else was to be sent."""
        if len(data) <= RECORD:
            self.tls.write(data)
            return self._outgoing.read()
        write, read = self.tls.write, self._outgoing.read
        view = memoryview(data)
        records = []
        for start in range(0, len(data), RECORD):
            write(view[start : start + RECORD])
            records.append(read())
        return b"".join(records)

    def take(self) -> bytes:
        """Return what TLS itself has to say: the handshake, alerts, answers to key updates."""
        if isinstance(self.failure, NotTls):
            return self.failure.answer
        return self._outgoing.read() if self._outgoing.pending else b""

    def goodbye(self) -> bytes:
        """Return close_notify: nothing is sent behind it, and the peer knows that nothing was cut off."""
        if self.failure is None:
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass  # mostly it says that the peer has not answered yet
        return self.take()
