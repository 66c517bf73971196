"""A strict client: it follows both sides of a connection and accepts nothing a server may not send.

Half of RFC 9113 binds senders. Those statements are held here, over every frame of every case: form of frames,
stream states, flow-control windows, compression state, response fields. ``AssertionError`` tells what was broken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hpack

from tests.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FLAGS,
    PADDED,
    PREFACE,
    PRIORITY_PART,
    Code,
    Frame,
    Kind,
    Setting,
    describe,
    read_settings,
    split_frames,
)

Fields = list[tuple[bytes, bytes]]

WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
SERVER_STREAM_WINDOW = 256 * 1024
SERVER_WINDOW = 1024 * 1024
"""What a client may send before anyone has read it: on one stream, on all of them."""
CONNECTION_SPECIFIC = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
ON_ZERO = {Kind.SETTINGS, Kind.PING, Kind.GOAWAY}
ON_STREAM = {Kind.DATA, Kind.HEADERS, Kind.PRIORITY, Kind.RST_STREAM, Kind.PUSH_PROMISE, Kind.CONTINUATION}


@dataclass
class Response:
    """What came on one stream: ``interim`` are the 1xx statuses before, ``whole`` tells of END_STREAM."""

    status: int = 0
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields | None = None
    interim: tuple[int, ...] = ()
    whole: bool = False


@dataclass
class Stream:
    """One stream as the client sees it: ``over`` tells that the server may send nothing more."""

    window: int
    response: Response = field(default_factory=Response)
    over: bool = False
    ended_by_client: bool = False


class Client:
    """Both directions of one connection.

    ``sends`` and ``receives`` are told of all octets, in order. Of what the client sends, a limit it takes back
    (RST_STREAM, a smaller window, a smaller table) holds from ``settle`` on: the server may have answered before
    it read that far.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        """Everything received."""
        self.streams: dict[int, Stream] = {}
        self.promises: dict[int, Fields] = {}
        self.credit: dict[int, int] = {}
        """Sums of the increments received, by stream."""
        self.data_sent: dict[int, int] = {}
        """Octets that took of the server's windows, by stream; all of them under 0."""
        self.exceeded = False
        """DATA was sent for which there was no window."""
        self._sent = b""
        self._received = b""
        self._window = WINDOW
        self._initial_window = WINDOW
        self._slack = 0
        """By how much windows may be exceeded because the server has not heard of a smaller one."""
        self._frame_size = self._frame_size_before = 16_384
        self._table_size = 4096
        self._push = self._may_promise = True
        self._most_promised = LARGEST_WINDOW
        self._said_goaway = False
        self._decoder = hpack.Decoder(max_header_list_size=1 << 24)
        self._taken_back: list[Frame] = []
        self._resets: set[int] = set()
        self._block: tuple[Frame, bytes] | None = None
        self._last_named = LARGEST_WINDOW
        self._highest_opened = 0

    # What the client sends.

    def sends(self, octets: bytes) -> None:
        """Take note of what goes to the server, as far as it is whole."""
        self._sent += octets
        if PREFACE.startswith(self._sent):
            return
        if self._sent.startswith(PREFACE):
            self._sent = self._sent[len(PREFACE) :]
        frames, self._sent = split_frames(self._sent)
        for frame in frames:
            self._note(frame)

    def _note(self, frame: Frame) -> None:
        stream = self.streams.get(frame.stream)
        if frame.kind == Kind.HEADERS:
            if stream is None and frame.stream % 2:
                stream = self.streams[frame.stream] = Stream(self._initial_window)
                self._highest_opened = max(self._highest_opened, frame.stream)
            if self.owed(0) > SERVER_WINDOW or (
                stream is not None and not stream.over and self.owed(frame.stream) > SERVER_STREAM_WINDOW
            ):
                self.exceeded = True
            if stream is not None and frame.has(END_STREAM):
                stream.ended_by_client = True
        elif frame.kind == Kind.DATA:
            for number in (0, frame.stream):
                self.data_sent[number] = self.data_sent.get(number, 0) + len(frame.payload)
            if self.owed(0) > SERVER_WINDOW or (
                stream is not None and not stream.over and self.owed(frame.stream) > SERVER_STREAM_WINDOW
            ):
                self.exceeded = True
            if stream is not None and frame.has(END_STREAM):
                stream.ended_by_client = True
        elif frame.kind == Kind.WINDOW_UPDATE and len(frame.payload) == 4:
            increment = frame.number & LARGEST_WINDOW
            if frame.stream == 0:
                self._window += increment
            elif stream is not None:
                stream.window += increment
        elif frame.kind == Kind.SETTINGS:
            self._apply(frame)
        elif frame.kind in (Kind.RST_STREAM, Kind.GOAWAY):
            self._taken_back.append(frame)

    def owed(self, number: int) -> int:
        """Octets sent on a stream, or on all of them (0), that the server has not given back yet."""
        greeting = 0 if number else SERVER_WINDOW - WINDOW
        return self.data_sent.get(number, 0) - self.credit.get(number, 0) + greeting

    def _apply(self, frame: Frame) -> None:
        if frame.has(ACK) or frame.stream or len(frame.payload) % 6:
            return
        before = self._initial_window
        for name, value in read_settings(frame.payload):
            if name == Setting.INITIAL_WINDOW_SIZE and value <= LARGEST_WINDOW:
                for stream in self.streams.values():
                    stream.window += value - self._initial_window
                self._initial_window = value
            elif name == Setting.MAX_FRAME_SIZE:
                self._frame_size, self._frame_size_before = value, max(value, self._frame_size_before)
            elif name == Setting.HEADER_TABLE_SIZE:
                self._table_size = value
            elif name == Setting.ENABLE_PUSH:
                self._push, self._may_promise = value == 1, self._may_promise or value == 1
            elif name == Setting.MAX_CONCURRENT_STREAMS:
                self._most_promised = value
        self._slack = max(0, self._slack + before - self._initial_window)

    def settle(self) -> None:
        """Everything sent so far has been processed: what was taken back holds."""
        for frame in self._taken_back:
            if frame.kind == Kind.GOAWAY:
                self._said_goaway = True
            elif frame.stream in self.streams:
                self.streams[frame.stream].over = True
        self._taken_back.clear()
        self._slack = 0
        self._frame_size_before = self._frame_size
        self._may_promise = self._push
        self._decoder.max_allowed_table_size = self._table_size

    # What the server sends.

    def receives(self, octets: bytes) -> list[Frame]:
        """Judge what came from the server and return its frames."""
        frames, self._received = split_frames(self._received + octets)
        for frame in frames:
            try:
                self._judge(frame)
            except AssertionError as fault:
                raise AssertionError(
                    f"the server may not send {frame!r}: {fault}\n{describe(bytes(frame))}"
                ) from None
            self.frames.append(frame)
        assert not self._received, f"half a frame: {self._received.hex()}"
        return frames

    def _judge(self, frame: Frame) -> None:
        assert frame.kind in FLAGS, "nobody has defined it"
        assert self.frames or (frame.kind == Kind.SETTINGS and not frame.has(ACK)), "SETTINGS comes first"
        assert not frame.reserved, "the reserved bit is set"
        assert not frame.flags & ~FLAGS[frame.kind], f"a flag without a meaning is set: 0x{frame.flags:02x}"
        assert len(frame.payload) <= self._frame_size_before, f"{len(frame.payload)} octets are more than allowed"
        assert frame.kind not in ON_ZERO or frame.stream == 0, "it belongs on stream 0"
        assert frame.kind not in ON_STREAM or frame.stream != 0, "it belongs on a stream"
        if self._block is not None:
            assert frame.kind == Kind.CONTINUATION, "a field block has not ended"
            assert frame.stream == self._block[0].stream, "a field block of another stream has not ended"
        if frame.stream:
            self._judge_state(frame)
        judge = getattr(self, f"_on_{Kind(frame.kind).name.lower()}")
        judge(frame)

    def _judge_state(self, frame: Frame) -> None:
        stream = self.streams.get(frame.stream)
        assert stream is not None, "the stream is idle"
        if frame.kind == Kind.RST_STREAM and frame.number == Code.NO_ERROR and stream.response.whole:
            assert not stream.ended_by_client, "both sides have ended the stream"
            return  # RFC 9113 §8.1: the response is whole, the client may stop sending
        if frame.kind in (Kind.RST_STREAM, Kind.WINDOW_UPDATE) and not stream.ended_by_client:
            assert frame.stream not in self._resets, "the server has reset the stream"
            assert not stream.over or stream.response.whole, "the stream is closed"
            return
        if frame.kind != Kind.PRIORITY:
            assert not stream.over, "the stream is closed"
        assert frame.kind != Kind.WINDOW_UPDATE, "the client has ended the stream"

    def _on_data(self, frame: Frame) -> None:
        stream = self.streams[frame.stream]
        size = len(frame.payload)
        assert stream.response.status >= 200, "no response has begun"
        assert size <= max(stream.window + self._slack, 0), f"the stream's window is {stream.window}"
        assert size <= max(self._window, 0), f"the connection's window is {self._window}"
        stream.window -= size
        self._window -= size
        stream.response.body += _without_padding(frame)
        self._end(frame, stream)

    def _on_headers(self, frame: Frame) -> None:
        part = _without_padding(frame)
        assert not frame.has(PRIORITY_PART), "servers have no priorities to tell"
        self._fragment(frame, part)

    def _on_continuation(self, frame: Frame) -> None:
        assert self._block is not None, "there is no field block to continue"
        first, part = self._block
        self._block = None
        self._fragment(first, part + frame.payload, frame.has(END_HEADERS))

    def _fragment(self, first: Frame, part: bytes, ends: bool | None = None) -> None:
        if not (first.has(END_HEADERS) if ends is None else ends):
            self._block = first, part
            return
        fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(part, raw=True)]
        if first.kind == Kind.PUSH_PROMISE:
            _judge_promise(fields)
            self.promises[int.from_bytes(first.payload[:4], "big")] = fields
        else:
            self._message(first, fields)

    def _message(self, first: Frame, fields: Fields) -> None:
        stream = self.streams[first.stream]
        response = stream.response
        _judge_fields(fields)
        control = [name for name, _ in fields if name.startswith(b":")]
        if response.status >= 200:
            assert response.trailers is None, "a third field section"
            assert not control, f"trailers with {control[0]!r}"
            assert first.has(END_STREAM), "trailers that do not end the stream"
            response.trailers = fields
        else:
            assert control == [b":status"], f"a response has :status and no other pseudo-header field, not {control}"
            assert fields[0][0] == b":status", "a pseudo-header field behind others"
            status = fields[0][1]
            assert len(status) == 3, f"a status of {status!r}"
            if int(status) < 200:
                assert int(status) != 101, "HTTP/2 has no 101"
                assert not first.has(END_STREAM), "an interim response that ends the stream"
                response.interim += (int(status),)
            else:
                response.status, response.fields = int(status), fields[1:]
                self._judge_concurrency()
        self._end(first, stream)

    def _judge_concurrency(self) -> None:
        pushed = [stream for number, stream in self.streams.items() if number % 2 == 0]
        active = sum(1 for stream in pushed if stream.response.status and not stream.over)
        assert active <= self._most_promised, f"{active} pushed responses at once are more than allowed"

    def _end(self, frame: Frame, stream: Stream) -> None:
        if frame.has(END_STREAM):
            stream.over = stream.response.whole = True

    def _on_rst_stream(self, frame: Frame) -> None:
        assert len(frame.payload) == 4, "four octets"
        assert frame.stream not in self._resets, "a second RST_STREAM"
        self._resets.add(frame.stream)
        self.streams[frame.stream].over = True

    def _on_settings(self, frame: Frame) -> None:
        assert not frame.has(ACK) or not frame.payload, "an ACK with a payload"
        assert len(frame.payload) % 6 == 0, "a multiple of six octets"
        for name, value in read_settings(frame.payload):
            assert name != Setting.ENABLE_PUSH or value == 0, "a server's SETTINGS_ENABLE_PUSH is 0"
            assert name != Setting.MAX_FRAME_SIZE or 2**14 <= value < 2**24, "SETTINGS_MAX_FRAME_SIZE out of range"
            assert name != Setting.INITIAL_WINDOW_SIZE or value <= LARGEST_WINDOW, "a window out of range"

    def _on_push_promise(self, frame: Frame) -> None:
        promised = int.from_bytes(frame.payload[:4], "big")
        assert self._may_promise, "the client has switched push off"
        assert not self._said_goaway, "the client has said GOAWAY"
        assert promised % 2 == 0, "a server's streams have even numbers"
        assert promised > max(self.promises, default=0), "the number is not greater than those before"
        assert frame.stream % 2, "promises are made on the client's streams"
        self.streams[promised] = Stream(self._initial_window, ended_by_client=True)
        self._fragment(frame, frame.payload[4:])

    def _on_ping(self, frame: Frame) -> None:
        assert len(frame.payload) == 8, "eight octets"

    def _on_goaway(self, frame: Frame) -> None:
        assert len(frame.payload) >= 8, "eight octets and more"
        last = int.from_bytes(frame.payload[:4], "big")
        assert last <= self._last_named, f"the last stream was {self._last_named} before"
        self._last_named = last

    def _on_window_update(self, frame: Frame) -> None:
        assert len(frame.payload) == 4, "four octets"
        assert frame.number, "an increment of 0"
        self.credit[frame.stream] = self.credit.get(frame.stream, 0) + frame.number

    def _on_priority(self, frame: Frame) -> None:
        assert False, "servers have no priorities to tell"  # noqa: B011, PT015  # as the others: an assertion


def _without_padding(frame: Frame) -> bytes:
    if not frame.has(PADDED):
        return frame.payload
    size = frame.payload[0]
    assert size < len(frame.payload), "more padding than payload"
    assert frame.payload[len(frame.payload) - size :] == bytes(size), "padding that is not zero"
    return frame.payload[1 : len(frame.payload) - size]


def _judge_promise(fields: Fields) -> None:
    """RFC 9113 §8.4.1: a promised request is complete, safe and cacheable, and has no body."""
    _judge_fields(fields)
    control = [name for name, _ in fields if name.startswith(b":")]
    assert sorted(control) == [b":authority", b":method", b":path", b":scheme"], f"a promise with {control}"
    assert dict(fields)[b":method"] in (b"GET", b"HEAD"), "a promise of a method that is not safe and cacheable"
    assert b"content-length" not in dict(fields), "a promise with a body"


def _judge_fields(fields: Fields) -> None:
    """RFC 9113 §8.2: what holds for every field a server sends."""
    regular = False
    for name, value in fields:
        assert name, "a field without a name"
        assert not any(octet <= 0x20 or 0x41 <= octet <= 0x5A or octet >= 0x7F for octet in name), f"name {name!r}"
        assert b":" not in name[1:], f"name {name!r}"
        assert not set(value) & {0, 10, 13}, f"value {value!r}"
        assert value == value.strip(b" \t"), f"value {value!r}"
        assert name not in CONNECTION_SPECIFIC, f"connection-specific {name!r}"
        assert name != b"te", "te is for requests"
        assert not (regular and name.startswith(b":")), "a pseudo-header field behind others"
        regular = regular or not name.startswith(b":")
