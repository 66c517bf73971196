"""The native engine: our own HPACK and frames, in plain Python (``--http2 native``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keepserve.http2.encoding import ENCODED, TABLE_EMPTIED, EncodedFields, encode_field, encode_pair, encode_status
from keepserve.http2.hpack import Decoded, Decoder
from keepserve.http2.protocol import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    HEADERS,
    PING,
    PUSH_PROMISE,
    SETTINGS,
    ErrorCode,
    frame,
    goaway,
    rst_stream,
    settings,
    window_update,
)
from keepserve.http2.request import VOCABULARY
from keepserve.http2.session import Session
from keepserve.wire.engine import Limits
from keepserve.wire.response import DATE, SERVER, Field

_SETTINGS_ACK = frame(SETTINGS, ACK, 0)
_OWN = DATE | SERVER
_pack = FRAME_HEAD.pack

_JOIN_UP_TO = 4096
"""A body this short is joined with its frame's head: copying it costs less than a second buffer to write."""


class NativeEngine(Session):
    """HTTP/2 in plain Python; ``defaults`` are the fields every response carries, the rest is as in ``Session``."""

    __slots__ = ("_decoder", "_defaults", "_peer_table", "_table_shrunk")

    _known = ENCODED

    def __init__(
        self, limits: Limits, defaults: EncodedFields, now: float, *, max_requests: int = 0, max_age: float = 0.0
    ) -> None:
        self._decoder = Decoder(VOCABULARY)
        self._defaults = defaults
        self._peer_table = 4096
        self._table_shrunk = False
        super().__init__(limits, now, max_requests=max_requests, max_age=max_age)

    # In.

    def _decode(self, number: int, block: bytes, raw: bytes, end: bool) -> Decoded:
        return self._decoder.decode(block, self._limits.request_head)

    # Out.

    def _render_field(self, name: bytes, value: bytes) -> Any:
        return encode_field(name, value)

    def _write_head(self, number: int, status: int, special: int, parts: list[Any], end: bool) -> None:
        if special & _OWN:
            opening = self._defaults.opening(status, special)
        else:
            opening = self._defaults.openings.get(status) or self._defaults.opening(status)
        block = opening + b"".join(parts)
        if self._table_shrunk or len(block) > self._peer_frame_size:
            self._write_block(HEADERS, number, block, end)
            return
        flags = END_HEADERS | END_STREAM if end else END_HEADERS
        self.out.append(_pack(len(block) << 8 | HEADERS, flags, number) + block)

    def _write_block(self, kind: int, number: int, block: bytes, end: bool, before: bytes = b"") -> None:
        """Put out a header block that needs a second look: in several frames, or after a change of the table."""
        if self._table_shrunk:
            # RFC 9113 §4.3.1: the first block after the acknowledgement has to say that the table is smaller.
            self._table_shrunk = False
            block = TABLE_EMPTIED + block
        most = self._peer_frame_size
        block = before + block
        flags = END_STREAM if end else 0
        pieces = [block[start : start + most] for start in range(0, len(block), most)]
        for index, piece in enumerate(pieces):
            if index == len(pieces) - 1:
                flags |= END_HEADERS
            self.out.append(frame(kind, flags, number, piece))
            kind, flags = CONTINUATION, 0

    def _write_data(self, number: int, data: bytes, end: bool) -> None:
        head = _pack(len(data) << 8 | DATA, END_STREAM if end else 0, number)
        if len(data) < _JOIN_UP_TO:
            self.out.append(head + data)
        else:
            self.out += (head, data)

    def _write_trailers(self, number: int, fields: list[Field]) -> None:
        self._write_block(HEADERS, number, b"".join(encode_field(*field)[0] for field in fields), True)

    def _write_interim(self, number: int, status: int, fields: list[Field]) -> None:
        block = encode_status(status) + b"".join(encode_field(*field)[0] for field in fields)
        self._write_block(HEADERS, number, block, False)

    def _write_promise(self, number: int, promised: int, fields: list[Field]) -> None:
        block = b"".join(encode_pair(name, value) for name, value in fields)
        self._write_block(PUSH_PROMISE, number, block, False, promised.to_bytes(4, "big"))

    def _write_reset(self, number: int, code: ErrorCode) -> None:
        self.out.append(rst_stream(number, code))

    def _write_greeting(self, pairs: Sequence[tuple[int, int]], increment: int) -> None:
        self.out += (settings(*pairs), window_update(0, increment))

    def _write_settings_ack(self, table_size: int | None) -> None:
        if table_size is not None:
            if table_size < self._peer_table:
                self._table_shrunk = True
            self._peer_table = table_size
        self.out.append(_SETTINGS_ACK)

    def _write_ping(self, data: bytes, ack: bool) -> None:
        self.out.append(frame(PING, ACK if ack else 0, 0, data))

    def _write_window_update(self, number: int, increment: int) -> None:
        self.out.append(window_update(number, increment))

    def _write_goaway(self, last: int, code: ErrorCode, debug: bytes = b"") -> None:
        self.out.append(goaway(last, code, debug))
