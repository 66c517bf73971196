"""The native engine and the h2 library, each as a server that is shown one frame at a time; what each makes of it.

The library is taken as it is, its checks of fields included. It is given our settings and our bound on decoded
fields, and no GOAWAY, after which it would judge nothing more (python-hyper/h2#1181).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.native import NativeEngine
from keepserve.wire.engine import Body, Limits, Rejected
from keepserve.wire.engine import Request as NativeRequest
from tests.http2.conversations import DONE, LONGEST
from tests.http2.frames import ACK, END_HEADERS, PADDED, PREFACE, PRIORITY_PART, Kind, read_settings

Field = tuple[bytes, bytes]

STREAMS = 4
"""How many streams a client may have open: few, so that the limit is met."""
LIMITS = Limits(streams=STREAMS)
STREAM_WINDOW = 256 * 1024
CONNECTION_WINDOW = 1024 * 1024

_DEFAULTS = EncodedFields(date=False)
_CONFIG = H2Configuration(client_side=False, header_encoding=None, normalize_inbound_headers=False)
_COMPARED = (Kind.RST_STREAM, Kind.SETTINGS, Kind.PING)


class Shown(NamedTuple):
    """A frame as it is read off the wire; or the preface, or what is left at the end and is no whole frame."""

    octets: bytes
    kind: int
    flags: int
    stream: int
    payload: bytes
    whole: bool

    def __repr__(self) -> str:
        rest = "" if self.whole else " (not whole)"
        return f"<{self.kind} flags={self.flags:#x} stream={self.stream} {self.payload.hex()}{rest}>"


def cut(octets: bytes) -> Iterator[Shown]:
    """Cut what a client sends as its frames' lengths say."""
    start = len(PREFACE)
    yield Shown(octets[:start], -1, 0, 0, b"", len(octets) >= start)
    size = len(octets)
    while start < size:
        end = start + 9 + int.from_bytes(octets[start : start + 3], "big")
        whole = end <= size and start + 9 <= size
        head = octets[start : start + 9].ljust(9, b"\0")
        yield Shown(
            octets[start:end],
            head[3],
            head[4],
            int.from_bytes(head[5:], "big") & 0x7FFFFFFF,
            octets[start + 9 : end],
            whole,
        )
        start = end


class Seen(NamedTuple):
    """What one frame led to: everything that is compared.

    ``request`` is stream, method, target, fields; ``body`` stream and octets; ``ended`` the stream whose request is
    whole now; ``gone`` the stream the client has reset; ``sent`` are RST_STREAM with its code, and acknowledgements;
    ``failed`` is the code of the error the connection ends with, and then there is nothing else; ``answered`` is the
    stream and the status of a response by the server itself.
    """

    request: tuple[int, bytes, bytes, tuple[Field, ...]] | None = None
    body: tuple[int, bytes] | None = None
    ended: int | None = None
    gone: int | None = None
    sent: tuple[tuple[int, int, bytes], ...] = ()
    failed: int | None = None
    answered: tuple[int, int] | None = None

    def __repr__(self) -> str:
        told = (
            f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True) if value not in (None, ())
        )
        return f"Seen({', '.join(told)})"


NOTHING = Seen()


def _sent(octets: bytes) -> tuple[tuple[int, int, bytes], ...]:
    sent = []
    start = 0
    while start < len(octets):
        end = start + 9 + int.from_bytes(octets[start : start + 3], "big")
        if octets[start + 3] in _COMPARED:
            sent.append(
                (octets[start + 3], int.from_bytes(octets[start + 5 : start + 9], "big"), octets[start + 9 : end])
            )
        start = end
    return tuple(sent)


class Native:
    """The native engine."""

    def __init__(self) -> None:
        self.engine = NativeEngine(LIMITS, _DEFAULTS, 0.0)
        self.engine.out.clear()

    def show(self, shown: Shown) -> Seen:
        """Read a frame; answer what is to be answered."""
        engine = self.engine
        request = body = ended = gone = answered = None
        for event in engine.receive(shown.octets, 0.0):
            if isinstance(event, NativeRequest):
                request = event.stream, event.method, event.target, tuple(event.fields)
                if event.complete:
                    ended = event.stream
            elif isinstance(event, Body):
                if event.data:
                    body = event.stream, event.data
                if event.complete:
                    ended = event.stream
            elif isinstance(event, Rejected):
                if event.status:
                    answered = event.stream, event.status
                else:
                    gone = event.stream
        if engine.out:
            octets = b"".join(engine.out)
            engine.out.clear()
            code = int.from_bytes(octets[13:17], "big")
            if engine.ending and octets[3] == Kind.GOAWAY and code:
                return Seen(failed=code)
            sent = _sent(octets)
        else:
            sent = ()
        if sent and sent[0][0] == Kind.RST_STREAM:
            gone = None
        return Seen(request, body, ended, gone, sent, None, answered)

    def answer(self, stream: int) -> None:
        """Answer a request that is whole."""
        self.engine.respond(stream, 204, [], b"", True)
        self.engine.out.clear()


class Oracle:
    """The library."""

    def __init__(self) -> None:
        self.fault: ProtocolError | None = None
        """Why it gave up."""
        self.headers: list[Field] = []
        """The fields of the last block, pseudo-header fields among them."""
        self.connection = connection = H2Connection(_CONFIG)
        connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: LIMITS.request_head,
            },
        )
        connection.decoder.max_header_list_size = 4 * LIMITS.request_head
        connection.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
        connection.clear_outbound_data_buffer()

    def show(self, octets: bytes) -> Seen:
        """Read a frame."""
        try:
            events = self.connection.receive_data(octets)
        except ProtocolError as fault:
            self.fault = fault
            return Seen(failed=int(fault.error_code))
        sent = self.connection.data_to_send()
        if not events and not sent:
            return NOTHING
        return self._seen(events, _sent(sent))

    def _seen(self, events: list[Event], sent: tuple[tuple[int, int, bytes], ...]) -> Seen:
        request = body = ended = gone = None
        for event in events:
            if isinstance(event, RequestReceived):
                assert event.headers is not None
                self.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
                request = event.stream_id, *as_application_sees(self.headers)
                if event.stream_ended is not None:
                    ended = event.stream_id
            elif isinstance(event, DataReceived):
                if event.data:
                    body = event.stream_id, event.data
                if event.stream_ended is not None:
                    ended = event.stream_id
            elif isinstance(event, TrailersReceived):
                assert event.headers is not None
                self.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
                ended = event.stream_id
            elif isinstance(event, StreamReset) and event.remote_reset:
                gone = event.stream_id
        return Seen(request, body, ended, gone, sent)

    def answer(self, stream: int) -> None:
        """Answer a request that is whole."""
        self.connection.send_headers(stream, [(b":status", b"204")], end_stream=True)
        self.connection.clear_outbound_data_buffer()


def as_application_sees(headers: list[Field]) -> tuple[bytes, bytes, tuple[Field, ...]]:
    """Method, target and fields as ASGI has them: the authority as host in front, cookies in one field."""
    control = {name: value for name, value in headers if name[:1] == b":"}
    fields = [field for field in headers if field[0][:1] != b":"]
    authority = control.get(b":authority")
    if authority is not None:
        fields = [(b"host", authority), *(field for field in fields if field[0] != b"host")]
    crumbs = [value for name, value in fields if name == b"cookie"]
    if len(crumbs) > 1:
        first = next(at for at, field in enumerate(fields) if field[0] == b"cookie")
        fields[first] = b"cookie", b"; ".join(crumbs)
        fields = [field for at, field in enumerate(fields) if field[0] != b"cookie" or at == first]
    return control.get(b":method", b""), control.get(b":path", b""), tuple(fields)


def values(shown: Shown, setting: int) -> list[int]:
    """The values of a setting in a SETTINGS frame."""
    return [value for name, value in read_settings(shown.payload) if name == setting]


def _fragment(shown: Shown) -> bytes:
    """What HEADERS carries beside padding and priority."""
    start, end = 0, len(shown.payload)
    if shown.flags & PADDED and shown.payload:
        start, end = 1, end - shown.payload[0]
    return shown.payload[start + (5 if shown.flags & PRIORITY_PART else 0) : end]


class Comparison:
    """Both servers, shown the same frames until they differ or the connection is over.

    Besides, what a reader of the same frames can know of the connection, for the reasons of differences.
    """

    def __init__(self) -> None:
        self.native = Native()
        self.oracle = Oracle()
        self.ours = self.theirs = NOTHING
        self.settled = False
        """The first frame, SETTINGS, has come."""
        self.acknowledged = False
        self.within: int | None = None
        """The stream of a header block that has not ended."""
        self.continuations = 0
        self.block = b""
        """What has come of that block, or of the last one."""
        self.highest = 0
        self.open: dict[int, bytes] = {}
        """Streams the client has opened and nobody has closed, with the content-length of their requests."""
        self.received: dict[int, int] = {}
        """Octets of bodies, by stream."""
        self.reset_by_us: set[int] = set()
        self.initial_window = 65_535
        self.window_updates = 0
        self.requests = 0
        self._targets: dict[int, bytes] = {}

    def show(self, shown: Shown) -> bool:
        """Show both a frame; tell whether they agree."""
        self._note_before(shown)
        self.ours = ours = self.native.show(shown)
        withheld = shown.kind == Kind.GOAWAY and shown.whole and not shown.stream and self.within is None
        withheld = withheld and 8 <= len(shown.payload) <= LONGEST
        self.theirs = NOTHING if withheld else self.oracle.show(shown.octets)
        if ours != self.theirs:
            return False
        self._note_after(shown, ours)
        return True

    @property
    def over(self) -> bool:
        """The connection has ended."""
        return self.ours.failed is not None or bool(self.native.engine.ending)

    def _note_before(self, shown: Shown) -> None:
        if shown.kind == Kind.CONTINUATION:
            self.continuations += 1
            self.block += shown.payload
        elif shown.kind == Kind.HEADERS:
            self.continuations = 0
            self.block = _fragment(shown)
        elif shown.kind == Kind.WINDOW_UPDATE:
            self.window_updates += 1

    def _note_after(self, shown: Shown, seen: Seen) -> None:
        if not shown.whole or seen.failed is not None:
            return
        kind, flags, stream = shown.kind, shown.flags, shown.stream
        if kind in (Kind.HEADERS, Kind.CONTINUATION):
            self.within = None if flags & END_HEADERS else stream
            if stream > self.highest and self.within is None:
                self.highest = stream
                self.open[stream] = b""
        elif kind == Kind.SETTINGS:
            self.settled = True
            self.initial_window = [self.initial_window, *values(shown, 4)][-1]
            self.acknowledged = self.acknowledged or bool(flags & ACK)
        if seen.request is not None:
            self.requests += 1
            self.open[stream] = dict(seen.request[3]).get(b"content-length", b"")
            self._targets[stream] = seen.request[2]
        if seen.body is not None:
            self.received[stream] = self.received.get(stream, 0) + len(seen.body[1])
        if seen.gone is not None:
            self.open.pop(seen.gone, None)
        for sent, number, _ in seen.sent:
            if sent == Kind.RST_STREAM:
                self.reset_by_us.add(number)
                self.open.pop(number, None)
        if seen.ended is not None and self._targets[seen.ended].startswith(DONE):
            self.native.answer(seen.ended)
            self.oracle.answer(seen.ended)
            del self.open[seen.ended]
