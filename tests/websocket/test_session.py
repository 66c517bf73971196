"""The session by itself: frames in any pieces, messages, limits, and every rule of closing."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate

from keepserve.telemetry.reasons import CloseReason
from keepserve.websocket.limits import SocketLimits
from keepserve.websocket.session import Session, State
from keepserve.wire.engine import NEVER, ResponseError
from tests.websocket.frames import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    close,
    closing,
    frame,
    read_frames,
    text,
)


class Peer:
    """A session, a clock, and what came out."""

    def __init__(self, *extensions: Any, **limits: Any) -> None:
        limits.setdefault("ping_interval", 0.0)
        self.now = 0.0
        self.session = Session(SocketLimits(**limits), self.now, extensions)
        self.sent = b""

    def feed(self, *pieces: bytes) -> Peer:
        """Let bytes arrive."""
        for piece in pieces:
            self.session.receive(piece, self.now)
        return self

    def at(self, now: float) -> Peer:
        """Let time pass."""
        self.now = now
        self.session.expire(now)
        return self

    def take(self) -> list[str | bytes]:
        """Take all messages, as an application does that is waiting for them."""
        taken = []
        while self.session.waiting:
            taken.append(self.session.take(self.now))
        return taken

    @property
    def frames(self) -> list[Frame]:
        """Everything the server sent."""
        self.sent += b"".join(self.session.out)
        self.session.out.clear()
        return read_frames(self.sent)

    @property
    def end(self) -> tuple[State, int | None, str]:
        """How it stands, and what the application is told."""
        return self.session.state, self.session.code, self.session.text


def outcome(pieces: list[bytes], **limits: Any) -> tuple[Any, ...]:
    """All that can be seen of some input."""
    peer = Peer(**limits).feed(*pieces)
    return peer.take(), peer.frames, peer.end, peer.session.reason


CONVERSATIONS = {
    "messages of both kinds": text("héllo") + frame(BINARY, b"\x00\xff") + text(""),
    "a long message": text("x" * 300) + frame(BINARY, bytes(range(256)) * 3),
    "fragments, and control frames between them": (
        text("one ", fin=False)
        + frame(PING, b"a")
        + frame(CONT, b"two ", fin=False)
        + frame(PONG, b"")
        + frame(CONT, b"three")
    ),
    "a character cut in two": frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT, b"\xac"),
    "a close behind a message": text("bye") + close(1000, b"done"),
    "a close without a code": close(None),
    "what follows a close": close(1001) + text("too late") + frame(PING, b"x"),
    "a fault behind a message": text("good") + frame(3, b"") + text("never read"),
    "bad UTF-8": text("good") + frame(TEXT, b"\xff\xfe"),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_bytes_mean_the_same_in_any_pieces(name: str) -> None:
    raw = CONVERSATIONS[name]
    whole = outcome([raw])
    assert outcome([raw[at : at + 1] for at in range(len(raw))]) == whole
    for cut in range(1, min(len(raw), 120)):
        assert outcome([raw[:cut], raw[cut:]]) == whole, f"cut at {cut}"


def test_messages_come_as_text_and_bytes() -> None:
    taken, frames, end, _ = outcome([CONVERSATIONS["messages of both kinds"]])
    assert taken == ["héllo", b"\x00\xff", ""]
    assert [type(message) for message in taken] == [str, bytes, str]
    assert (frames, end) == ([], (State.OPEN, None, ""))


def test_fragments_make_one_message_and_pings_between_them_are_answered() -> None:
    taken, frames, _, _ = outcome([CONVERSATIONS["fragments, and control frames between them"]])
    assert taken == ["one two three"]
    assert frames == [Frame(PONG, b"a")]


def test_a_character_may_be_cut_by_fragments() -> None:
    assert outcome([CONVERSATIONS["a character cut in two"]])[0] == ["€"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1024 * 1024])
def test_messages_of_every_form_of_length_come_and_go(size: int) -> None:
    peer = Peer().feed(frame(BINARY, b"x" * size))
    assert peer.take() == [b"x" * size]
    peer.session.send(b"y" * size)
    assert peer.frames == [Frame(BINARY, b"y" * size)]


# Faults (RFC 6455 §5, §7.1.7): the close frame says which, and nothing behind it is read.

FAULTS = {
    "unmasked": (frame(TEXT, b"x", mask=None), 1002),
    "the first reserved bit": (frame(TEXT, b"x", rsv=4), 1002),
    "the second reserved bit": (frame(TEXT, b"x", rsv=2), 1002),
    "the third reserved bit": (frame(TEXT, b"x", rsv=1), 1002),
    "a reserved bit of a control frame": (frame(PING, b"x", rsv=4), 1002),
    "an unknown data frame": (frame(3, b"x"), 1002),
    "an unknown control frame": (frame(11, b"x"), 1002),
    "a continuation of nothing": (frame(CONT, b"x"), 1002),
    "a message within another": (text("a", fin=False) + text("b"), 1002),
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "a fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a ping that claims a mebibyte": (frame(PING, b"", size=1 << 20), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close whose reason is not UTF-8": (close(1000, b"\xff"), 1007),
    "text that is not UTF-8": (frame(TEXT, b"\xc3\x28"), 1007),
    "text that ends within a character": (frame(TEXT, b"\xe2\x82"), 1007),
    "text with a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "text in fragments that is not UTF-8": (frame(TEXT, b"\xe2", fin=False) + frame(CONT, b"\x28\xa1"), 1007),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_the_websocket_and_says_why(name: str) -> None:
    raw, code = FAULTS[name]
    peer = Peer().feed(text("before"), raw, text("behind"))
    (last,) = peer.frames
    assert last.opcode == CLOSE
    assert int.from_bytes(last.payload[:2], "big") == code
    assert last.payload[2:].decode(), "there is a reason"
    assert peer.take() == ["before"]
    assert peer.end == (State.CLOSED, code, last.payload[2:].decode())
    assert peer.session.reason is CloseReason.PROTOCOL_ERROR
    assert not peer.session.closed_by_both


# Close codes (§7.4).

GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
BAD_CODES = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", GOOD_CODES)
def test_a_close_is_answered_by_the_same_and_told(code: int) -> None:
    peer = Peer().feed(close(code, "why — so".encode()))
    assert peer.frames == [closing(code, "why — so")]
    assert peer.end == (State.CLOSED, code, "why — so")
    assert peer.session.reason is CloseReason.WEBSOCKET_CLOSED
    assert peer.session.closed_by_both


@pytest.mark.parametrize("code", BAD_CODES)
def test_a_code_that_may_not_be_sent_is_a_fault(code: int) -> None:
    peer = Peer().feed(close(code))
    assert peer.frames == [closing(1002, "invalid status code")]
    assert peer.end[:2] == (State.CLOSED, 1002)


def test_a_close_without_a_code_is_answered_by_the_same_and_told_as_1005() -> None:
    peer = Peer().feed(close(None))
    assert peer.frames == [Frame(CLOSE, b"")]
    assert peer.end == (State.CLOSED, 1005, "")


def test_a_peer_that_leaves_without_a_close_is_told_as_1006() -> None:
    peer = Peer().feed(text("last"))
    peer.session.receive_eof()
    assert peer.take() == ["last"]
    assert peer.end == (State.CLOSED, 1006, "")
    assert peer.frames == []
    assert peer.session.reason is CloseReason.PEER_LEFT


@pytest.mark.parametrize("code", GOOD_CODES)
def test_our_close_waits_for_the_peers_and_drops_what_comes_before_it(code: int) -> None:
    peer = Peer()
    peer.session.close(code, "so", CloseReason.WEBSOCKET_CLOSED, 0.0)
    assert peer.frames == [closing(code, "so")]
    assert peer.end == (State.CLOSING, code, "so")
    peer.feed(text("unheard"), frame(PING, b"still answered"))
    assert peer.take() == []
    assert peer.frames[1:] == [Frame(PONG, b"still answered")]
    peer.feed(close(code))
    assert peer.end == (State.CLOSED, code, "so")
    assert len(peer.frames) == 2, "a close frame is sent once"
    assert peer.session.closed_by_both


@pytest.mark.parametrize("code", BAD_CODES)
def test_our_close_may_not_have_a_code_that_may_not_be_sent(code: int) -> None:
    peer = Peer()
    with pytest.raises(ResponseError, match="The code of a close must be"):
        peer.session.close(code, "", CloseReason.WEBSOCKET_CLOSED, 0.0)
    assert (peer.frames, peer.session.state) == ([], State.OPEN)


def test_the_reason_of_our_close_has_123_bytes_at_most() -> None:
    peer = Peer()
    with pytest.raises(ResponseError, match="at most 123 bytes"):
        peer.session.close(1000, "é" * 62, CloseReason.WEBSOCKET_CLOSED, 0.0)
    peer.session.close(1000, "é" * 61 + "e", CloseReason.WEBSOCKET_CLOSED, 0.0)
    assert peer.frames == [closing(1000, "é" * 61 + "e")]


def test_closes_that_cross_are_both_closes() -> None:
    peer = Peer()
    peer.session.close(1012, "service restart", CloseReason.DRAINING, 0.0)
    peer.feed(close(1000, b"bye"))
    assert peer.end == (State.CLOSED, 1012, "service restart")


def test_a_peer_that_does_not_answer_our_close_has_five_seconds() -> None:
    peer = Peer()
    peer.session.close(1000, "", CloseReason.WEBSOCKET_CLOSED, 10.0)
    assert peer.session.next_deadline() == 15.0
    assert peer.at(14.99).session.state == State.CLOSING
    assert peer.at(15.0).session.state == State.CLOSED
    assert not peer.session.closed_by_both
    assert peer.session.next_deadline() == NEVER


def test_a_close_frame_behind_a_full_queue_is_found_when_we_close() -> None:
    peer = Peer(queue=2).feed(b"".join(text(str(number)) for number in range(5)) + close(1000))
    assert peer.session.full
    peer.session.close(1012, "", CloseReason.DRAINING, 0.0)
    assert peer.session.state == State.CLOSED
    assert peer.take() == ["0", "1"], "what had been received before is still told"


# Limits.


def test_a_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    assert Peer(max_message=1000).feed(text("x" * 1000)).take() == ["x" * 1000]
    peer = Peer(max_message=1000).feed(frame(TEXT, b"", size=1001))
    assert peer.frames == [closing(1009, "message larger than 1000 bytes")], "before any of it has come"
    assert peer.session.reason is CloseReason.BAD_REQUEST


def test_the_limit_is_for_all_fragments_together() -> None:
    parts = frame(BINARY, b"x" * 600, fin=False) + frame(CONT, b"x" * 400)
    assert Peer(max_message=1000).feed(parts).take() == [b"x" * 1000]
    assert Peer(max_message=999).feed(parts).frames == [closing(1009, "message larger than 999 bytes")]


def test_a_ping_does_not_count_for_the_message_around_it() -> None:
    raw = frame(BINARY, b"x" * 1000, fin=False) + frame(PING, b"p" * 125) + frame(CONT, b"")
    peer = Peer(max_message=1000).feed(raw)
    assert peer.take() == [b"x" * 1000]
    assert peer.frames == [Frame(PONG, b"p" * 125)]


def test_a_message_has_1024_fragments_at_most() -> None:
    first, more, last = frame(TEXT, b"", fin=False), frame(CONT, b"", fin=False), frame(CONT, b"x")
    assert Peer().feed(first + more * 1022 + last).take() == ["x"]
    peer = Peer().feed(first + more * 1023 + last)
    assert peer.frames == [closing(1009, "message of more than 1024 fragments")]


def test_no_more_is_read_than_the_queue_holds_and_the_rest_when_there_is_room() -> None:
    peer = Peer()
    peer.feed(b"".join(text(str(number)) for number in range(100)) + frame(PING, b"after all"))
    assert (peer.session.waiting, peer.session.full) == (32, True)
    assert peer.frames == [], "the ping stands behind what was not read"
    assert peer.take() == [str(number) for number in range(100)]
    assert peer.frames == [Frame(PONG, b"after all")]
    assert not peer.session.full


def test_messages_of_more_than_the_largest_size_together_are_enough() -> None:
    peer = Peer(max_message=1000).feed(text("x" * 900) * 10)
    assert peer.session.waiting == 2
    assert len(peer.take()) == 10


def test_too_many_control_frames_close_with_1008() -> None:
    flood = frame(PING, b"")
    assert Peer().feed(flood * 1000).session.state == State.OPEN
    peer = Peer().feed(flood * 1001)
    assert peer.frames[-1] == closing(1008, "too many control frames")
    assert peer.session.reason is CloseReason.FLOOD


def test_control_frames_at_a_bearable_pace_are_no_flood() -> None:
    peer = Peer()
    for second in range(0, 100, 10):
        peer.now = second
        peer.feed(frame(PONG, b"") * 1000)
    assert peer.session.state == State.OPEN


# permessage-deflate (RFC 7692).


def deflate() -> PerMessageDeflate:
    """The server's side of what was agreed."""
    return PerMessageDeflate(False, False, 12, 12, {"memLevel": 5})


def squeezed(data: bytes, *, keep: zlib._Compress | None = None) -> bytes:
    """What a client sends of a message."""
    squeezer = keep or zlib.compressobj(wbits=-12)
    return (squeezer.compress(data) + squeezer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_compressed_messages_come_and_go_with_one_dictionary_for_all() -> None:
    peer, keep = Peer(deflate()), zlib.compressobj(wbits=-12)
    first, second = squeezed(b"again and again " * 20, keep=keep), squeezed(b"again and again " * 20, keep=keep)
    assert len(second) < len(first)
    peer.feed(frame(TEXT, first, rsv=4), frame(TEXT, second, rsv=4), text("plain"))
    assert peer.take() == ["again and again " * 20] * 2 + ["plain"]
    peer.session.send("answer " * 50)
    (out,) = peer.frames
    assert (out.rsv, len(out.payload) < 50) == (4, True)
    assert zlib.decompressobj(wbits=-12).decompress(out.payload + b"\x00\x00\xff\xff") == b"answer " * 50


def test_compressed_messages_may_come_in_fragments() -> None:
    whole = squeezed(b"fragments " * 100)
    peer = Peer(deflate()).feed(frame(BINARY, whole[:7], fin=False, rsv=4), frame(CONT, whole[7:]))
    assert peer.take() == [b"fragments " * 100]


def test_the_limit_is_for_what_is_inflated_and_a_bomb_is_not() -> None:
    bomb = squeezed(bytes(64 * 1024 * 1024))
    assert len(bomb) < 100_000
    peer = Peer(deflate(), max_message=1_000_000).feed(frame(BINARY, bomb, rsv=4))
    assert peer.frames == [closing(1009, "message larger than 1000000 bytes")]


def test_what_cannot_be_compressed_may_still_be_as_large_as_the_limit() -> None:
    whole = random.Random(1).randbytes(100_000)
    large = squeezed(whole)
    assert len(large) > 100_000
    assert Peer(deflate(), max_message=100_000).feed(frame(BINARY, large, rsv=4)).take() == [whole]
    peer = Peer(deflate(), max_message=99_999).feed(frame(BINARY, large, rsv=4))
    assert peer.frames == [closing(1009, "message larger than 99999 bytes")]
    parts = frame(BINARY, large[:70_000], fin=False, rsv=4) + frame(CONT, large[70_000:])
    assert Peer(deflate(), max_message=100_000).feed(parts).take() == [whole]
    assert Peer(deflate(), max_message=99_999).feed(parts).frames == peer.frames


def test_a_bomb_in_fragments_is_none_either() -> None:
    whole = squeezed(bytes(2_000_000))
    pieces = [whole[at : at + 100] for at in range(0, len(whole), 100)]
    peer = Peer(deflate(), max_message=1_000_000)
    peer.feed(frame(BINARY, pieces[0], fin=False, rsv=4), *(frame(CONT, piece, fin=False) for piece in pieces[1:]))
    assert peer.frames == [closing(1009, "message larger than 1000000 bytes")]


@pytest.mark.parametrize("raw", [frame(TEXT, b"\xff\xff\xff", rsv=4), frame(PING, b"x", rsv=4)])
def test_what_cannot_be_inflated_is_a_fault(raw: bytes) -> None:
    peer = Peer(deflate()).feed(raw)
    assert peer.end[:2] == (State.CLOSED, 1002)


# Pings.


def test_pings_go_out_at_their_interval_and_any_byte_is_an_answer() -> None:
    peer = Peer(ping_interval=24.0, ping_timeout=20.0)
    for due in (24.0, 48.0, 72.0):
        assert peer.session.next_deadline() == due
        assert len(peer.at(due - 0.01).frames) == due // 24 - 1, "never early"
        assert len(peer.at(due).frames) == due // 24
        peer.now = due + 19.9
        peer.feed(frame(PONG, b"alive?")[:1] if due < 40 else frame(PONG, b"alive?")[1:])
        if due >= 40:
            break
    assert {sent.opcode for sent in peer.frames} == {PING}
    assert peer.session.state == State.OPEN


def test_a_peer_that_is_silent_after_a_ping_is_given_up_with_1011() -> None:
    peer = Peer(ping_interval=24.0, ping_timeout=20.0).at(24.0)
    assert peer.at(43.99).session.state == State.OPEN
    peer.at(44.0)
    assert peer.end == (State.CLOSED, 1011, "no answer to a ping within 20 s")
    assert peer.session.reason is CloseReason.PING_TIMEOUT
    assert peer.frames[-1] == closing(1011, "no answer to a ping within 20 s")


def test_pings_go_on_while_an_answer_is_awaited() -> None:
    """A short interval is for the balancer's sake; the peer has its time all the same."""
    peer = Peer(ping_interval=4.0, ping_timeout=20.0)
    for now in (4.0, 8.0, 12.0, 16.0, 20.0):
        peer.at(now)
    assert len(peer.frames) == 5
    assert peer.session.next_deadline() == 24.0
    peer.at(24.0)
    assert peer.end[:2] == (State.CLOSED, 1011)


def test_a_peer_whose_messages_are_not_read_is_pinged_and_not_given_up() -> None:
    peer = Peer(ping_interval=24.0, ping_timeout=20.0, queue=1).feed(text("a") + text("b"))
    for now in (24.0, 48.0, 72.0, 96.0):
        peer.at(now)
    assert [sent.opcode for sent in peer.frames] == [PING] * 4
    assert peer.session.state == State.OPEN


def test_a_peer_that_does_not_read_is_not_pinged_and_not_given_up() -> None:
    peer = Peer(ping_interval=24.0, ping_timeout=20.0)
    peer.session.held = True
    peer.at(24.0).at(48.0).at(72.0)
    assert (peer.frames, peer.session.state) == ([], State.OPEN)
    peer.session.held = False
    assert [sent.opcode for sent in peer.at(96.0).frames] == [PING]


def test_of_pings_that_cannot_be_answered_now_the_last_is_answered_later() -> None:
    peer = Peer()
    peer.session.held = True
    peer.feed(frame(PING, b"1"), frame(PING, b"2"))
    assert peer.frames == []
    assert peer.session.next_deadline() == 0.5
    peer.at(0.5)
    assert peer.session.next_deadline() == 1.0
    peer.session.held = False
    assert peer.at(1.0).frames == [Frame(PONG, b"2")]
    assert peer.session.next_deadline() == NEVER


def test_without_an_interval_nothing_is_timed() -> None:
    assert Peer(ping_interval=0.0).session.next_deadline() == NEVER


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535])
def test_a_message_that_comes_alone_is_read_as_any_other(size: int) -> None:
    """It has a way of its own, which is shorter."""
    alone, behind = frame(TEXT, b"x" * size), frame(PONG, b"")
    assert Peer().feed(alone).take() == Peer().feed(alone + behind).take() == ["x" * size]
    for cut in (alone[:-1], alone + b"\x81"):
        peer = Peer().feed(cut)
        assert peer.session.state == State.OPEN
        assert peer.feed(alone[-1:] if len(cut) < len(alone) else frame(TEXT, b"y")[1:]).take()[0] == "x" * size


@pytest.mark.parametrize("first", range(2, 200))
def test_a_long_message_may_come_in_pieces_of_any_size(first: int) -> None:
    """Also with one that has just the size which its second byte would mean if lengths had seven bits."""
    long = frame(BINARY, b"x" * 70_000)
    peer = Peer().feed(long[:first])
    assert peer.take() == []
    assert peer.feed(long[first:]).take() == [b"x" * 70_000]


def test_the_short_way_has_the_limits_of_the_other() -> None:
    assert Peer(max_message=130).feed(text("x" * 131)).frames == [closing(1009, "message larger than 130 bytes")]
    assert Peer(max_message=1000).feed(frame(TEXT, b"\xff")).end[:2] == (State.CLOSED, 1007)
    assert Peer().feed(text("a", fin=False)).feed(text("b")).end[:2] == (State.CLOSED, 1002)
    peer = Peer(queue=1).feed(text("a")).feed(text("b"))
    assert (peer.session.waiting, peer.session.full, peer.take()) == (1, True, ["a", "b"])
    peer = Peer()
    peer.session.close(1000, "", CloseReason.WEBSOCKET_CLOSED, 0.0)
    assert peer.feed(text("dropped")).take() == []
