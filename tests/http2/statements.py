"""What RFC 9113 §§3-8 demands: every MUST and MUST NOT, in our words, each with a name that the cases refer to.

The keywords are the RFC's. ``CHOICE`` marks what the RFC leaves open or only recommends, where keepserve has
decided: the cases hold it to that. A statement that no frame on the wire can show says why not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """``name`` begins with the section; ``not_in_frames`` is why no case shows it, or empty."""

    name: str
    keyword: str
    text: str
    not_in_frames: str = ""

    @property
    def section(self) -> str:
        """The section's number, as in ``6.5.2``."""
        return self.name.partition("-")[0]

    @property
    def source(self) -> str:
        """How it is quoted: ``RFC 9113 §6.5.2``."""
        return f"RFC 9113 §{self.section}"


_STARTING = """
3.2-h2c MUST NOT: A server selects the protocol name h2c in ALPN.
    Not in frames: ALPN is over before the first frame comes; the TLS tests look at what is offered.
3.2-preface MUST: Once TLS is negotiated the server sends its connection preface.
3.3-alpn MUST: HTTP/2 over TLS is chosen by ALPN.
    Not in frames: ALPN is over before the first frame comes; the TLS tests look at it.
3.3-preface MUST: With prior knowledge, too, the server sends its connection preface.
3.4-settings-follow MUST: The client's 24 octets are followed by a SETTINGS frame, which may be empty.
3.4-settings-first MUST: A SETTINGS frame is the first frame the server sends.
3.4-acknowledged MUST: The SETTINGS of the client's preface are acknowledged, after the server's own preface.
3.4-invalid MUST: An invalid preface is a connection error PROTOCOL_ERROR; GOAWAY may be left out.
4.1-length MUST NOT: Payloads beyond 16,384 octets are sent to a peer that did not allow them.
4.1-unknown-type MUST: Frames of unknown type are ignored and discarded.
4.1-unused-flags MUST: Flags without a meaning for the frame type are ignored.
4.1-unused-flags-unset MUST: Flags without a meaning are sent unset.
4.1-reserved-unset MUST: The reserved bit is sent unset.
4.1-reserved-ignored MUST: The reserved bit is ignored.
4.2-minimum MUST: Frames of 16,384 octets can be received and processed.
4.2-size MUST: A frame above the announced size, above its type's limit or too short gets FRAME_SIZE_ERROR.
4.2-size-connection MUST: That is a connection error for field blocks, SETTINGS and anything on stream 0.
4.3-contiguous MUST: The frames of a field block follow one another; nothing stands between them.
4.3-decompressed MUST: Who does not decompress a field block ends the connection with COMPRESSION_ERROR.
4.3-decoding MUST: A field block that cannot be decoded is a connection error COMPRESSION_ERROR.
4.3.1-shrunk MUST: After acknowledging a smaller table our next field block starts with a size update to fit.
4.3.1-not-shrunk MUST: A field block without that update, when we made the table smaller, is COMPRESSION_ERROR.
    Not in frames: keepserve never announces a SETTINGS_HEADER_TABLE_SIZE, so the table it allows never shrinks.
4.3.1-size-updates CHOICE: Size updates within 4,096 octets at the start of a block are obeyed (RFC 7541 §4.2).
"""

_STREAMS = """
5.1-idle MUST: A frame other than HEADERS and PRIORITY on an idle stream is a connection error PROTOCOL_ERROR.
5.1-idle-ours MUST: HEADERS on an idle stream of the server's numbering is a connection error PROTOCOL_ERROR.
5.1-reserved-sends MUST NOT: On a promised stream anything but HEADERS, RST_STREAM and PRIORITY is sent.
5.1-reserved-receives MUST: On a promised stream anything but RST_STREAM, PRIORITY, WINDOW_UPDATE is PROTOCOL_ERROR.
5.1-reserved-remote-sends MUST NOT: On a stream promised by the peer other frames than three kinds are sent.
    Not in frames: binds the client; nobody promises streams to a server.
5.1-reserved-remote-receives MUST: On a stream promised by the peer other frames than three kinds are errors.
    Not in frames: binds the client; nobody promises streams to a server.
5.1-half-closed MUST: After END_STREAM anything but WINDOW_UPDATE, PRIORITY, RST_STREAM gets RST STREAM_CLOSED.
5.1-closed-silent MUST NOT: Frames other than PRIORITY are sent on a closed stream.
5.1-closed-error CHOICE: Frames on a stream closed by both sides or by the client are connection errors STREAM_CLOSED.
5.1-closed-allowed CHOICE: WINDOW_UPDATE, RST_STREAM and PRIORITY may still come on a closed stream.
5.1-reset-discards MUST: After our RST_STREAM frames are discarded, but count for HPACK and the connection window.
5.1.1-odd MUST: A client's streams have odd numbers.
5.1.1-even MUST: A server's streams have even numbers.
5.1.1-greater MUST: A new stream's number is greater than all its side has opened or reserved.
5.1.1-unexpected MUST: An unexpected stream number is a connection error PROTOCOL_ERROR.
5.1.2-obeyed MUST NOT: The peer's limit of concurrent streams is exceeded.
5.1.2-exceeded MUST: HEADERS beyond our limit is a stream error PROTOCOL_ERROR or REFUSED_STREAM; we take the latter.
5.2.1-limits MUST: A sender keeps within the receiver's flow-control limits.
5.2.2-read MUST: Frames are read and processed as soon as they come, so that a WINDOW_UPDATE never waits.
5.4-reported MUST: A frame that causes a connection error has that one reported, whatever else is wrong.
5.4.1-closed MUST: After the GOAWAY of a connection error the connection is closed.
5.4.2-prepared MUST: Who sent RST_STREAM is prepared for frames that were under way.
5.4.2-no-loop MUST NOT: RST_STREAM is answered with RST_STREAM.
5.5-values MUST: Unknown values in extensible elements are ignored.
5.5-types MUST: Frames of unknown type are discarded.
5.5-in-block MUST: An extension frame amid a field block is a connection error PROTOCOL_ERROR.
5.5-negotiated MUST: An extension that changes existing elements is negotiated before it is used.
    Not in frames: keepserve uses none; SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218) changes no element.
5.5-disabled MUST: A setting made to negotiate an extension starts out disabled.
    Not in frames: binds who defines extensions.
"""

_FRAMES_1 = """
6.1-padding-zero MUST: Padding of DATA is sent as zeros.
6.1-on-stream MUST: DATA belongs to a stream.
6.1-stream-zero MUST: DATA on stream 0 is a connection error PROTOCOL_ERROR.
6.1-closed MUST: DATA on a stream that is neither open nor half-closed (local) is a stream error STREAM_CLOSED.
6.1-padding-length MUST: Padding as long as the payload of DATA or longer is a connection error PROTOCOL_ERROR.
6.2-padding-zero MUST: Padding of HEADERS is sent as zeros.
6.2-continued MUST: HEADERS without END_HEADERS is followed by CONTINUATION on the same stream.
6.2-interrupted MUST: Anything else after it is a connection error PROTOCOL_ERROR.
6.2-on-stream MUST: HEADERS belongs to a stream.
6.2-stream-zero MUST: HEADERS on stream 0 is a connection error PROTOCOL_ERROR.
6.2-padding-length MUST: Padding as long as the payload of HEADERS or longer is a connection error PROTOCOL_ERROR.
6.2-priority CHOICE: The priority part of HEADERS is skipped (§5.3.2).
6.3-stream-zero MUST: PRIORITY on stream 0 is a connection error PROTOCOL_ERROR.
6.3-length MUST: PRIORITY with a length other than 5 is a stream error FRAME_SIZE_ERROR.
6.3-any-state CHOICE: PRIORITY in any state is ignored and changes no state.
6.3-self CHOICE: PRIORITY or HEADERS that make a stream depend on itself are a connection error PROTOCOL_ERROR.
6.4-silent MUST NOT: After RST_STREAM was received frames other than PRIORITY are sent on that stream.
6.4-prepared MUST: Who sent RST_STREAM can take what the peer had sent before.
6.4-on-stream MUST: RST_STREAM belongs to a stream.
6.4-stream-zero MUST: RST_STREAM on stream 0 is a connection error PROTOCOL_ERROR.
6.4-idle-never MUST NOT: RST_STREAM is sent on an idle stream.
6.4-idle MUST: RST_STREAM on an idle stream is a connection error PROTOCOL_ERROR.
6.4-length MUST: RST_STREAM with a length other than 4 is a connection error FRAME_SIZE_ERROR.
6.5-start MUST: Both sides send SETTINGS at the start.
6.5-all MUST: All settings of the RFC are supported.
6.5-ack-empty MUST: A SETTINGS ACK has no payload.
6.5-ack-length MUST: A SETTINGS ACK with a payload is a connection error FRAME_SIZE_ERROR.
6.5-on-zero MUST: SETTINGS is sent on stream 0.
6.5-stream MUST: SETTINGS on another stream is a connection error PROTOCOL_ERROR.
6.5-malformed MUST: A badly formed SETTINGS frame is a connection error PROTOCOL_ERROR.
6.5-length MUST: SETTINGS whose length is not a multiple of 6 is a connection error FRAME_SIZE_ERROR.
6.5-unsolicited CHOICE: A SETTINGS ACK nobody waits for is a connection error PROTOCOL_ERROR.
6.5-many CHOICE: More than 32 settings in one frame are a connection error ENHANCE_YOUR_CALM.
6.5.2-push-off MUST NOT: PUSH_PROMISE is sent to a client that set SETTINGS_ENABLE_PUSH to 0.
6.5.2-push-off-client MUST: A client that switched push off takes PUSH_PROMISE as PROTOCOL_ERROR.
    Not in frames: binds the client.
6.5.2-push-value MUST: SETTINGS_ENABLE_PUSH other than 0 or 1 is a connection error PROTOCOL_ERROR.
6.5.2-push-never-one MUST NOT: A server sets SETTINGS_ENABLE_PUSH to 1.
6.5.2-push-only-zero MUST: A server that sends SETTINGS_ENABLE_PUSH sends 0.
6.5.2-push-one-client MUST: A client takes SETTINGS_ENABLE_PUSH of 1 as PROTOCOL_ERROR.
    Not in frames: binds the client.
6.5.2-window MUST: SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 is a connection error FLOW_CONTROL_ERROR.
6.5.2-frame-size-sent MUST: The SETTINGS_MAX_FRAME_SIZE we announce is within 2^14 and 2^24-1.
6.5.2-frame-size MUST: SETTINGS_MAX_FRAME_SIZE outside 2^14 to 2^24-1 is a connection error PROTOCOL_ERROR.
6.5.2-unknown MUST: A setting with an unknown identifier is ignored.
6.5.2-list-size CHOICE: A request above 32 KiB of fields or 100 fields (cookie crumbs apart) is answered 431.
6.5.3-applied MUST: Settings are applied as soon as they come.
6.5.3-order MUST: The values of one frame are processed in order, with nothing between them.
6.5.3-unsupported MUST: Unsupported settings are ignored.
6.5.3-acknowledged MUST: Once all values are processed an ACK goes out at once.
"""

_FRAMES_2 = """
6.6-padding-zero MUST: Padding of PUSH_PROMISE is sent as zeros.
6.6-promised MUST: The promised number is a valid choice for the sender's next stream.
6.6-continued MUST: PUSH_PROMISE without END_HEADERS is followed by CONTINUATION on the same stream.
6.6-interrupted MUST: Anything else after such a PUSH_PROMISE is a connection error PROTOCOL_ERROR.
6.6-sent-on MUST: PUSH_PROMISE is sent only on a client's stream that is open or half-closed (remote).
6.6-stream-zero MUST: PUSH_PROMISE on stream 0 is a connection error PROTOCOL_ERROR.
6.6-push-off MUST NOT: PUSH_PROMISE is sent when the peer's SETTINGS_ENABLE_PUSH is 0.
6.6-push-off-received MUST: PUSH_PROMISE in spite of our setting is a connection error PROTOCOL_ERROR.
6.6-sender-state MUST NOT: PUSH_PROMISE is sent on a stream in another state.
6.6-sender-idle MUST: The sender sees to it that the promised stream is idle.
6.6-receiver-state MUST: PUSH_PROMISE on a stream in another state is a connection error PROTOCOL_ERROR.
6.6-after-reset MUST: PUSH_PROMISE on a stream we have just reset is still handled.
    Not in frames: binds the client; to a server every PUSH_PROMISE is a connection error (8.4-from-client).
6.6-illegal-number MUST: PUSH_PROMISE of a stream that is not idle is a connection error PROTOCOL_ERROR.
6.6-padding-length MUST: Padding as long as the payload of PUSH_PROMISE or longer is PROTOCOL_ERROR.
6.7-eight-sent MUST: PING carries eight octets.
6.7-answered MUST: A PING without ACK is answered with an ACK of the same octets.
6.7-ack-set MUST: The answer has the ACK flag.
6.7-ack-unanswered MUST NOT: A PING with ACK is answered.
6.7-stream MUST: PING on another stream than 0 is a connection error PROTOCOL_ERROR.
6.7-length MUST: PING with a length other than 8 is a connection error FRAME_SIZE_ERROR.
6.8-no-new-streams MUST NOT: Who received GOAWAY opens further streams.
6.8-stream MUST: GOAWAY on another stream than 0 is a connection error PROTOCOL_ERROR.
6.8-not-raised MUST NOT: The last stream number is raised by a later GOAWAY.
6.8-graceful CHOICE: A server that stops says GOAWAY with 2^31-1 first, and the real number a round trip later.
6.8-answered CHOICE: A client's GOAWAY is answered with ours when its last stream is done, and the close.
6.8-blocks-after MUST: After GOAWAY field blocks of discarded streams still update the compression state.
6.8-data-after MUST: After GOAWAY DATA of discarded streams still counts for the connection window.
6.8-debug-data MUST: Debug data that is kept is guarded against unauthorized access.
    Not in frames: about storage; keepserve drops the debug data of a GOAWAY unread.
6.9-exempt MUST: Frames that are not flow controlled are accepted whatever the windows.
6.9-zero MUST: A WINDOW_UPDATE of 0 on a stream is an error PROTOCOL_ERROR; we take the whole connection for it.
6.9-zero-connection MUST: An error on the connection's window is a connection error.
6.9-closed MUST NOT: A WINDOW_UPDATE after END_STREAM is taken as an error.
6.9-accounted MUST: Every DATA frame counts for the connection window, even one in error.
6.9-length MUST: WINDOW_UPDATE with a length other than 4 is a connection error FRAME_SIZE_ERROR.
6.9-violated CHOICE: DATA beyond a window is FLOW_CONTROL_ERROR: of the stream, or of the connection for its own.
6.9.1-space MUST NOT: DATA is sent beyond either window.
6.9.1-maximum MUST NOT: A sender lets a window grow beyond 2^31-1.
6.9.1-overflow MUST: A WINDOW_UPDATE beyond that ends the stream or the connection with FLOW_CONTROL_ERROR.
6.9.2-adjusted MUST: A new SETTINGS_INITIAL_WINDOW_SIZE moves all stream windows by the difference.
6.9.2-negative MUST: A window that becomes negative is kept as such.
6.9.2-waits MUST NOT: DATA is sent before such a window is positive again.
6.9.2-overflow MUST: A new initial size that takes a window beyond 2^31-1 is a connection error FLOW_CONTROL_ERROR.
6.9.3-reduced MUST: Who makes a window smaller is prepared for data that exceeds it.
    Not in frames: keepserve's SETTINGS only ever raise the initial window, and once.
6.10-continued MUST: CONTINUATION without END_HEADERS is followed by another on the same stream.
6.10-interrupted MUST: Anything else after it is a connection error PROTOCOL_ERROR.
6.10-on-stream MUST: CONTINUATION belongs to a stream.
6.10-stream-zero MUST: CONTINUATION on stream 0 is a connection error PROTOCOL_ERROR.
6.10-preceded MUST: CONTINUATION is sent only behind a field block that has not ended.
6.10-unpreceded MUST: CONTINUATION behind anything else is a connection error PROTOCOL_ERROR.
"""

_MESSAGES_1 = """
7-unknown-code MUST NOT: Unknown error codes make a difference.
8.1-nothing-between MUST NOT: Other frames stand between HEADERS and its CONTINUATION frames.
8.1-trailers-sent MUST NOT: Trailers are sent with pseudo-header fields.
8.1-trailers-pseudo MUST: A request with pseudo-header fields in its trailers is malformed.
8.1-second-headers MUST: A request with a second HEADERS frame that does not end the stream is malformed.
8.1-early CHOICE: Who still sends after a whole response is told to stop (NO_ERROR), a quarter second later.
8.1-no-error-client MUST NOT: A client discards a response because of RST_STREAM with NO_ERROR behind it.
    Not in frames: binds the client.
8.1.1-forwarded MUST NOT: An intermediary forwards a malformed message.
    Not in frames: keepserve forwards nothing; that its application never sees one is part of every case.
8.1.1-stream-error MUST: A malformed request is a stream error PROTOCOL_ERROR.
8.1.1-length MUST: A content-length that is not the sum of the DATA payloads makes a request malformed.
8.1.1-client MUST NOT: A client accepts a malformed response.
    Not in frames: binds the client.
8.2-lowercase MUST: Field names are sent in lower case.
8.2.1-validated MUST: Names and values of fields are validated.
8.2.1-name MUST NOT: A name holds control characters, space, upper-case letters or octets from 0x7f on.
8.2.1-name-colon MUST NOT: A name holds a colon, but for the one that starts a pseudo-header field's.
8.2.1-value MUST NOT: A value holds NUL, LF or CR.
8.2.1-value-edges MUST NOT: A value starts or ends with space or tab.
8.2.1-malformed MUST: A request that breaks one of these rules is malformed.
8.2.1-forwarded MUST NOT: An intermediary that does not process fields forwards such a field.
    Not in frames: binds intermediaries.
8.2.1-strict CHOICE: Names that are no tokens and values with other control characters (RFC 9110 §5) are malformed.
8.2.2-not-sent MUST NOT: Connection-specific fields are sent.
8.2.2-malformed MUST: A request with connection-specific fields is malformed.
8.2.2-te MUST NOT: A te field holds anything but "trailers".
8.2.2-transformed MUST: An intermediary removes connection-specific fields when it turns HTTP/1 into HTTP/2.
    Not in frames: binds intermediaries.
8.2.3-cookie MUST: Several cookie fields are joined with "; " before the application sees them.
"""

_MESSAGES_2 = """
8.3-only-defined MUST NOT: Pseudo-header fields outside the RFC are sent.
8.3-not-in-responses MUST NOT: Pseudo-header fields of requests appear in responses.
8.3-not-in-requests MUST NOT: Pseudo-header fields of responses appear in requests.
8.3-not-in-trailers MUST NOT: Pseudo-header fields appear in trailers.
8.3-undefined MUST: A request with undefined or invalid pseudo-header fields is malformed.
8.3-before MUST: Pseudo-header fields come before all others.
8.3-after MUST: A request with a pseudo-header field behind a regular one is malformed.
8.3-once MUST NOT: A pseudo-header field appears twice.
8.3-repeated MUST: A request with a repeated pseudo-header field is malformed.
8.3.1-authority-rules MUST NOT: Host determines the target when :authority is present.
8.3.1-authority-client MUST: A client that makes requests itself sends :authority.
    Not in frames: binds the client; a request with Host alone is served.
8.3.1-authority-none MUST NOT: A client sends :authority when there is no authority.
    Not in frames: binds the client.
8.3.1-host-differs MUST NOT: A client sends a Host that differs from :authority; ours is then malformed.
8.3.1-normalized MUST: A server that is no origin server compares the two after scheme-based normalization.
    Not in frames: keepserve is an origin server.
8.3.1-forward-authority MUST: An intermediary builds :authority from the original request.
    Not in frames: binds intermediaries.
8.3.1-forward-none MUST NOT: An intermediary makes up an :authority.
    Not in frames: binds intermediaries.
8.3.1-forward-host MUST: Who makes a Host field takes it from :authority, as we do for the application.
8.3.1-no-authority CHOICE: A request with neither :authority nor Host is malformed.
8.3.1-userinfo MUST NOT: :authority holds user information.
8.3.1-path MUST NOT: :path is empty for http and https.
8.3.1-path-root MUST: A URI without a path is sent as "/".
    Not in frames: binds the client.
8.3.1-asterisk MUST: OPTIONS for a URI without a path has "*" as its :path.
8.3.1-mandatory MUST: A request has exactly one valid :method, :scheme and :path; else it is malformed.
8.3.1-version CHOICE: The application is told version "2".
8.3.2-status MUST: Every response has :status, interim ones too.
8.4-safe MUST: Promised requests are safe and cacheable.
8.4-unsafe-client MUST: A client resets promised requests that are not.
    Not in frames: binds the client.
8.4-stored MUST NOT: Pushed responses that are not cacheable are stored.
    Not in frames: binds caches.
8.4-authority MUST: The :authority of a promise is one the server is authoritative for.
8.4-authority-client MUST: A client takes promises for other authorities as stream errors.
    Not in frames: binds the client.
8.4-from-client MUST: PUSH_PROMISE from a client is a connection error PROTOCOL_ERROR.
8.4.1-complete MUST: The fields of a promise are a valid and complete set.
8.4.1-method MUST: A promise has a method that is safe and cacheable.
8.4.1-client MUST: A client answers an incomplete or unsafe promise with a stream error.
    Not in frames: binds the client.
8.4.1-never-client MUST NOT: A client sends PUSH_PROMISE.
8.4.1-stream MUST: The stream a promise is sent on is open or half-closed (remote).
8.4.2-validated MUST: A client checks that who pushed may speak for that origin.
    Not in frames: binds the client.
8.5-omitted MUST: CONNECT has neither :scheme nor :path.
8.5-refused CHOICE: CONNECT is answered 501 by the server itself; extended CONNECT that was not offered is malformed.
8.5-other-frames MUST: On a connected stream anything but DATA and stream management is a stream error.
    Not in frames: keepserve connects nothing; after its 501 the rules of a half-closed stream apply.
8.5-tcp-reset MUST: A proxy passes errors on as TCP resets.
    Not in frames: binds proxies.
8.7-guaranteed MUST NOT: A stream is declared unprocessed unless that is certain.
8.7-refused MUST NOT: REFUSED_STREAM is used for a stream the application has seen anything of.
8.7-goaway MUST: GOAWAY names a stream at least as high as any the application has seen.
"""

_LINE = re.compile(r"(\S+) (MUST|MUST NOT|CHOICE): (.+)")
_REASON = "    Not in frames: "


def _read(*tables: str) -> tuple[Statement, ...]:
    statements: list[Statement] = []
    for line in "".join(tables).splitlines():
        if line.startswith(_REASON):
            last = statements.pop()
            line_reason = line.removeprefix(_REASON)
            statements.append(Statement(last.name, last.keyword, last.text, line_reason))
        elif line:
            match = _LINE.fullmatch(line)
            assert match is not None, f"not a statement: {line!r}"
            statements.append(Statement(match[1], match[2], match[3]))
    return tuple(statements)


STATEMENTS = _read(_STARTING, _STREAMS, _FRAMES_1, _FRAMES_2, _MESSAGES_1, _MESSAGES_2)
"""All of them, in the RFC's order."""
