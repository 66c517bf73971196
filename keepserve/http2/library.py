"""The h2 library as an engine (``--http2 h2``): the independent reference that the native engine is compared with.

What a peer may do is judged in front of both engines, so that it does not depend on the engine. Here h2 does the
rest, and does it its own way: HPACK in both directions, the states of streams, flow control once more, the frames
that go out, the acknowledgements of SETTINGS and PING. If it finds a fault in what has passed the checks, the
connection ends with its error code; the tests see to it that this does not happen.

What differs from the native engine:

* The engine by itself is about eight times slower, and takes 13 KiB more for a connection, half a KiB for a stream.
* Responses are compressed with a dynamic table and, up to a length, Huffman codes; the native engine uses neither.
* A pushed response has no interim responses in front of it: h2 knows none there.
* The sentence in a GOAWAY for a compression error is the library's.

What is kept from h2, because it would end the connection, or answer by itself, where RFC 9113 asks for less:

* frames for streams that are over, or that have ended their side: of header blocks only the table takes note;
* GOAWAY, after which h2 sends and receives nothing more (python-hyper/h2#1181);
* ``content-length`` and ``:status`` in requests, whose faults are those of one stream (RFC 9113 §8.1.1);
* our limit of streams: more are refused one by one (§5.1.2);
* settings that change nothing for us, each of which h2 would remember;
* the reserved bit of WINDOW_UPDATE (§6.9), and padding that leaves nothing of a HEADERS frame (§6.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple

from keepserve.http2.encoding import SECRET, EncodedFields, judge_http2_field
from keepserve.http2.hpack import DEFAULT_TABLE_SIZE, HARD_FACTOR, CompressionFault, Decoded, ListTooLarge, gather
from keepserve.http2.protocol import (
    ACK,
    DATA,
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    frame,
    goaway,
    read_settings,
    read_uint31,
    rst_stream,
    settings,
    window_update,
)
from keepserve.http2.request import VOCABULARY
from keepserve.http2.session import Session
from keepserve.http2.streams import STREAM_WINDOW, Stream
from keepserve.wire.engine import Limits
from keepserve.wire.fields import remember
from keepserve.wire.response import Field

_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    # Malformed messages end streams, not connections; keepserve.http2.request tells which they are.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    # Response fields have been checked and rendered by ``_render_field``.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)

_HEEDED = frozenset((HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE))
"""Settings of the peer's that change what h2 may send."""

_JUDGED_IN_FRONT = frozenset((b"content-length", b":status"))

_THREE_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}")
"""More changes of the table's size than may stand in front of a block (RFC 7541 §4.2)."""

_CODED_MAX = 1024
"""Length of a response field's value up to which it is Huffman-coded."""

_RENDERED: dict[Field, tuple[Field, int, int]] = {}
"""Response fields sent before and found good."""


class _Decoder(hpack.Decoder):
    """Raises our faults, keeps the fields of the last block, and shows h2 those it is to see."""

    def __init__(self, max_list_size: int) -> None:
        super().__init__(HARD_FACTOR * max_list_size)
        self.fields: Iterable[HeaderTuple] = ()

    def decode(self, data: bytes, raw: bool = True) -> Iterable[HeaderTuple]:
        if _THREE_UPDATES.match(data) is not None:
            raise CompressionFault("the size of the table may change up to twice, and in front of all fields")
        try:
            self.fields = super().decode(data, raw=True)
        except OversizedHeaderListError as fault:
            raise ListTooLarge(str(fault)) from None
        except HPACKError as fault:
            raise CompressionFault(str(fault)) from None
        return [field for field in self.fields if field[0] not in _JUDGED_IN_FRONT]


class _Encoder(hpack.Encoder):
    """Has a table of 4096 octets at most, whatever the peer offers, and tells of changes as RFC 7541 §4.2 asks."""

    @property
    def header_table_size(self) -> int:
        """The size of the table; the least and the last of the sizes set are told in the next block."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        size = min(value, DEFAULT_TABLE_SIZE)
        if size == self.header_table.maxsize:
            return  # the library would take this for the end of a change it has not told of yet
        self.header_table.maxsize = size
        least = min([*self.table_size_changes, size])
        self.table_size_changes = [size] if size == least else [least, size]

    def add(self, to_add: Field, sensitive: bool, huffman: bool = False) -> bytes:
        """Encode a field. The library's Huffman codes cost the square of the length: 130 ms for 40,000 bytes."""
        return super().add(to_add, sensitive, huffman and len(to_add[1]) <= _CODED_MAX)


class _Connection(H2Connection):
    """h2's connection, but for what it would keep or do that we do not want."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(_CONFIG)
        # In force from the start, as in front; and as many streams as there are, since we refuse them ourselves.
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.request_head,
            },
        )
        self.decoder = _Decoder(limits.request_head)
        self.encoder = _Encoder()
        self.receive_data(PREFACE)

    @property
    def open_inbound_streams(self) -> int:
        """What h2 asks before it opens a stream. It would look at all there are, and keep those that are over."""
        return 0

    def discard(self, size: int) -> None:
        """Take off the connection's window what came for streams that are over."""
        self._inbound_flow_control_window_manager.window_consumed(size)


class LibraryEngine(Session):
    """HTTP/2 by the h2 library; ``defaults`` are the fields every response carries, the rest is as in ``Session``."""

    __slots__ = ("_defaults", "_h2")

    _known = _RENDERED
    _observes = True

    def __init__(
        self, limits: Limits, defaults: EncodedFields, now: float, *, max_requests: int = 0, max_age: float = 0.0
    ) -> None:
        self._defaults = defaults
        self._h2 = _Connection(limits)
        super().__init__(limits, now, max_requests=max_requests, max_age=max_age)

    # In.

    def _decode(self, number: int, block: bytes, raw: bytes, end: bool) -> Decoded:
        decoder = self._h2.decoder
        assert isinstance(decoder, _Decoder)
        stream = self._streams.get(number)
        if number > self._last or (stream is not None and stream.receiving and end):
            self._feed(_with_less_padding(number, raw))
        else:
            decoder.decode(block)
        fields, decoder.fields = decoder.fields, ()
        return gather((VOCABULARY.entry(name, value) for name, value in fields), self._limits.request_head)

    def _observe(self, raw: bytes) -> None:
        kind, payload = raw[3], raw[9:]
        if kind in (DATA, PRIORITY, RST_STREAM):
            self._feed(raw)
        elif kind == WINDOW_UPDATE:
            self._feed(window_update(read_uint31(raw, 5), read_uint31(payload)))
        elif kind == SETTINGS and not raw[4] & ACK:
            self._feed(settings(*(pair for pair in read_settings(payload) if pair[0] in _HEEDED)))

    def _feed(self, raw: bytes) -> None:
        """Show a frame to h2, and put out what it answers, but for a GOAWAY: ours tells more."""
        try:
            self._h2.receive_data(raw)
        except ProtocolError as fault:
            raise ConnectionFault(ErrorCode(int(fault.error_code)), f"h2 refuses a frame: {fault}") from None
        self._flush()

    # Out.

    def _flush(self) -> None:
        octets = self._h2.data_to_send()
        if octets:
            self.out.append(octets)

    def _render_field(self, name: bytes, value: bytes) -> Any:
        meaning, number = judge_http2_field(name, value)
        kind = NeverIndexedHeaderTuple if name.lower() in SECRET else HeaderTuple
        rendered = kind(name.lower(), value.strip(b" \t")), meaning, number
        remember(_RENDERED, (name, value), rendered, len(name) + len(value))
        return rendered

    def _render(self, fields: list[Field]) -> list[Field]:
        return [self._render_field(name, value)[0] for name, value in fields]

    def _write_head(self, number: int, status: int, special: int, parts: list[Any], end: bool) -> None:
        fields = [(b":status", b"%d" % status), *self._defaults.beside(special), *parts]
        self._h2.send_headers(number, fields, end_stream=end)
        self._flush()

    def _write_data(self, number: int, data: bytes, end: bool) -> None:
        self._h2.send_data(number, data, end_stream=end)
        self._flush()

    def _write_trailers(self, number: int, fields: list[Field]) -> None:
        self._h2.send_headers(number, self._render(fields), end_stream=True)
        self._flush()

    def _write_interim(self, number: int, status: int, fields: list[Field]) -> None:
        if number & 1:  # h2 knows none in front of a pushed response, and nobody has to send one
            self._h2.send_headers(number, [(b":status", b"%d" % status), *self._render(fields)])
            self._flush()

    def _write_promise(self, number: int, promised: int, fields: list[Field]) -> None:
        parent = self._h2.streams[number]
        # The library cuts the block into pieces of the largest frame, and puts four octets in front of the first.
        parent.max_outbound_frame_size = self._h2.max_outbound_frame_size - 4
        self._h2.push_stream(number, promised, fields)
        parent.max_outbound_frame_size = self._h2.max_outbound_frame_size
        self._flush()

    def _write_reset(self, number: int, code: ErrorCode) -> None:
        try:
            self._h2.reset_stream(number, code)
        except StreamClosedError:
            self.out.append(rst_stream(number, code))  # h2 has no word for a stream that is over
        else:
            self._flush()
        self._h2.streams.pop(number, None)

    def _response_over(self, stream: Stream) -> None:
        super()._response_over(stream)
        if stream.number not in self._streams:
            self._h2.streams.pop(stream.number, None)

    def _forget(self, stream: Stream) -> None:
        super()._forget(stream)
        self._h2.streams.pop(stream.number, None)

    def _write_greeting(self, pairs: Sequence[tuple[int, int]], increment: int) -> None:
        self.out.append(settings(*pairs))  # h2 would send its own settings as well
        self._h2.increment_flow_control_window(increment)
        self._flush()

    def _write_settings_ack(self, table_size: int | None) -> None:
        """h2 acknowledges SETTINGS when it is shown them, which is right behind this call."""

    def _write_ping(self, data: bytes, ack: bool) -> None:
        if ack:
            self._feed(frame(PING, 0, 0, data))  # and h2 answers
        else:
            self._h2.ping(data)
            self._flush()

    def _write_window_update(self, number: int, increment: int) -> None:
        if number:
            self._h2.increment_flow_control_window(increment, number)
        else:
            self._h2.discard(self._h2.inbound_flow_control_window - self._receive_window)
            self._h2.increment_flow_control_window(increment)
        self._flush()

    def _write_goaway(self, last: int, code: ErrorCode, debug: bytes = b"") -> None:
        self.out.append(goaway(last, code, debug))  # h2 would take it for the end


def _with_less_padding(number: int, raw: bytes) -> bytes:
    """Return a header block's frames as hyperframe reads them: it refuses padding that leaves nothing else."""
    size = int.from_bytes(raw[:3], "big")
    if raw[4] & PADDED and raw[9] == size - 1:
        return frame(HEADERS, raw[4] & ~PADDED, number) + raw[9 + size :]
    return raw
