"""The TLS of one connection, against a client in memory: no socket, no loop, no clock."""

from __future__ import annotations

import ssl

import pytest

from keepserve.server import tlslayer
from keepserve.server.tlslayer import BARREN, RECORD, SLICE, CleartextRequest, TlsSession
from keepserve.wire.engine import NEVER
from tests.support.tls import Contexts, TlsClient, contexts

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
ALERT = 21
"""The type of its record (RFC 8446 §5.1)."""
LARGE = bytes(range(251)) * 4000


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda version: version.name)
def both(request: pytest.FixtureRequest) -> Contexts:
    return contexts(request.param)


def met(both: Contexts) -> tuple[TlsClient, TlsSession]:
    """A client and the server's end after their handshake."""
    client, server = TlsClient(both.client), TlsSession(both.server, 100.0, 10.0)
    client.meet(server)
    return client, server


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_the_handshake_has_a_deadline_until_it_is_done(both: Contexts) -> None:
    client, server = TlsClient(both.client), TlsSession(both.server, 100.0, 10.0)
    assert (server.deadline, server.silent, server.ready) == (110.0, True, False)
    server.shake(client.shake())
    assert (server.deadline, server.silent, server.ready) == (110.0, False, False)
    client, server = met(both)
    assert (server.deadline, server.silent, server.ready) == (NEVER, False, True)


def test_only_a_client_that_never_spoke_can_be_told_to_hurry(both: Contexts) -> None:
    client, server = TlsClient(both.client), TlsSession(both.server, 100.0, 10.0)
    server.quiet_until(103.0)
    assert server.deadline == 103.0
    server.quiet_until(105.0)
    assert server.deadline == 103.0
    slow = TlsSession(both.server, 100.0, 10.0)
    slow.shake(client.shake()[:1])
    slow.quiet_until(103.0)
    assert slow.deadline == 110.0


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_it_makes_no_difference_how_the_bytes_come(both: Contexts, size: int) -> None:
    client, server = TlsClient(both.client), TlsSession(both.server, 100.0, 10.0)
    said, sent = b"", b""
    while not (client.ready and server.ready):
        for piece in pieces_of(client.shake(said), size):
            server.shake(piece) if not server.ready else server.receive(piece)
        said = server.take()
    client.hear(said)
    request = b"GET / HTTP/1.1\r\n\r\n"
    for piece in pieces_of(client.say(request) + client.say(b"and more") + client.goodbye(), size):
        sent += server.receive(piece)
    while server.backlog:
        sent += server.receive(b"")
    assert sent == request + b"and more"
    assert server.ended
    assert server.failure is None


def test_a_request_behind_the_last_bytes_of_the_handshake_is_read(both: Contexts) -> None:
    client, server = TlsClient(both.client), TlsSession(both.server, 100.0, 10.0)
    said = b""
    while not client.ready:
        flight = client.shake(said)
        if client.ready:
            # TLS 1.3: the client may speak with its Finished; 1.2: it is the server's that ends the handshake.
            flight += client.say(b"early" * 5000)
        server.shake(flight)
        said = server.take()
    assert server.ready
    heard = server.receive(b"") if both.client.minimum_version == ssl.TLSVersion.TLSv1_3 else b""
    if not heard:
        assert both.client.maximum_version == ssl.TLSVersion.TLSv1_2
        heard = server.receive(client.say(b"early" * 5000)) or server.receive(b"")
    while len(heard) < 25_000:
        more = server.receive(b"")
        assert more
        heard += more
    assert heard[:25_000] == b"early" * 5000


def test_alpn_is_agreed_on() -> None:
    for offered, agreed in ((("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), (("spdy/3",), None)):
        _, server = met(contexts(None, *offered))
        assert server.tls.selected_alpn_protocol() == agreed


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 5 * RECORD, len(LARGE)])
def test_bodies_go_both_ways_whole(both: Contexts, size: int) -> None:
    client, server = met(both)
    body = LARGE[:size]
    assert client.hear(server.send(body)) == body
    heard = server.receive(b"".join(client.say(piece) for piece in pieces_of(body, RECORD)))
    while server.backlog:
        heard += server.receive(b"")
    assert heard == body


def test_what_is_sent_is_in_as_few_records_as_possible(both: Contexts) -> None:
    _, server = met(both)
    sent = server.send(memoryview(LARGE)[: 3 * RECORD])
    records = at = 0
    while at < len(sent):
        at += 5 + int.from_bytes(sent[at + 3 : at + 5], "big")
        records += 1
    assert records == 3


def test_many_tiny_records_are_read_in_slices_of_work(both: Contexts) -> None:
    client, server = met(both)
    flood = b"".join(client.say(b"x") for _ in range(6 * SLICE)) + client.goodbye()
    heard = [server.receive(flood)]
    while server.backlog:
        heard.append(server.receive(b""))
    assert b"".join(heard) == b"x" * 6 * SLICE
    assert len(heard) >= 3
    # A slice ends with the piece in which it is full: one of RECORD bytes holds that many more.
    assert max(map(len, heard)) <= SLICE + RECORD // 22
    assert server.ended


def test_bytes_that_come_during_a_slice_are_read_in_their_order(both: Contexts) -> None:
    client, server = met(both)
    flood = b"".join(client.say(bytes([97 + at % 26])) for at in range(4 * SLICE))
    heard = server.receive(flood)
    assert server.backlog
    heard += server.receive(client.say(b"END"))
    while server.backlog:
        heard += server.receive(b"")
    assert heard == bytes(97 + at % 26 for at in range(4 * SLICE)) + b"END"


def test_large_records_are_no_reason_to_stop(both: Contexts) -> None:
    client, server = met(both)
    body = LARGE[: 15 * RECORD]
    assert server.receive(b"".join(client.say(piece) for piece in pieces_of(body, RECORD))) == body
    assert not server.backlog


def test_what_comes_with_the_goodbye_and_behind_it_is_forgotten(both: Contexts) -> None:
    client, server = met(both)
    assert server.receive(client.say(b"last") + client.goodbye() + b"anything" * 10_000) == b"last"
    assert server.ended
    assert not server.backlog


def test_close_notify_goes_both_ways(both: Contexts) -> None:
    client, server = met(both)
    assert client.hear(server.send(b"last words") + server.goodbye()) == b"last words"
    assert client.heard_the_end
    # We have said goodbye and still hear what comes before the client's.
    assert server.receive(client.say(b"still") + client.goodbye()) == b"still"
    assert server.ended
    assert server.failure is None


def test_after_the_clients_goodbye_it_is_answered_in_full_and_heard_no_more(both: Contexts) -> None:
    client, server = met(both)
    rest = client.say(b"request") + client.goodbye()
    assert server.receive(rest) == b"request"
    assert server.ended
    assert server.receive(b"anything" * 10_000) == b""
    assert not server.backlog
    assert client.hear(server.send(b"answer")) == b"answer"
    assert client.hear(server.goodbye()) == b""
    assert client.heard_the_end


@pytest.mark.parametrize("method", ["GET", "POST", "PRI", "OPTIONS", "get", "HEAD", "X-MINE"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_http_in_clear_text_is_answered_so_that_the_client_understands(method: str, size: int) -> None:
    server = TlsSession(contexts().server, 100.0, 10.0)
    for piece in pieces_of(f"{method} /path HTTP/1.1\r\nHost: x\r\n\r\n".encode(), size):
        if server.failure is None:
            server.shake(piece)
    assert isinstance(server.failure, CleartextRequest)
    head, _, text = server.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close" in head
    if method == "HEAD":
        assert text == b""
    else:
        assert b"speaks TLS" in text
        assert f"Content-Length: {len(text)}".encode() in head


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 20,
        b"\x80\x2e\x01\x03\x01" * 4,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO mail.example\r\n"[:4] + b"\r\n",
        b"\xff" * 9,
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_garbage_ends_the_handshake(garbage: bytes, size: int) -> None:
    server = TlsSession(contexts().server, 100.0, 10.0)
    for piece in pieces_of(garbage, size):
        if server.failure is None:
            server.shake(piece)
    assert server.failure is not None
    assert not server.ready
    assert server.take()[0] == ALERT


def test_a_record_of_garbage_within_the_handshake_is_answered_with_an_alert() -> None:
    server = TlsSession(contexts().server, 100.0, 10.0)
    server.shake(b"\x16\x03\x01\x00\x05hello")
    assert server.failure is not None
    assert server.take()[0] == ALERT


def test_an_endless_client_hello_is_refused_before_it_fills_the_memory() -> None:
    server = TlsSession(contexts().server, 100.0, 10.0)
    hello = b"\x01" + (16_000_000).to_bytes(3, "big") + b"\x03\x03"
    server.shake(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
    fed = 0
    while server.failure is None:
        server.shake(b"\x16\x03\x03\x40\x00" + b"\0" * RECORD)
        fed += RECORD
        assert fed < 1_000_000
    assert "EXCESSIVE_MESSAGE_SIZE" in str(server.failure)


def test_a_damaged_record_is_the_end(both: Contexts) -> None:
    client, server = met(both)
    record, more = bytearray(client.say(b"GET")), client.say(b"more")
    record[-1] ^= 1
    assert server.receive(bytes(record)) == b""
    assert server.failure is not None
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.hear(server.take())
    assert server.receive(more) == b""
    assert server.goodbye() == b""


def test_renegotiation_is_refused_and_the_connection_goes_on() -> None:
    both = contexts(ssl.TLSVersion.TLSv1_2)
    assert both.server.options & ssl.OP_NO_RENEGOTIATION
    client, server = met(both)
    assert server.receive(client.say(b"fine")) == b"fine"


def test_bytes_that_carry_nothing_are_borne_only_so_long(both: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such are key updates, which cost more than a client pays for them; here it is a record that comes slowly."""
    assert BARREN > 2 * RECORD
    monkeypatch.setattr(tlslayer, "BARREN", 1000)
    client, server = met(both)
    for _ in range(3):
        assert server.receive(client.say(b"x" * 800)) == b"x" * 800
    pieces = pieces_of(client.say(b"x" * RECORD), 100)
    for piece in pieces[:10]:
        assert server.receive(piece) == b""
        assert server.failure is None
    server.receive(pieces[10])
    assert "carry nothing" in str(server.failure)


def test_a_client_certificate_is_required_where_it_is() -> None:
    both = contexts()
    both.server.verify_mode = ssl.CERT_REQUIRED
    both.authority.configure_trust(both.server)
    client, server = TlsClient(both.client), TlsSession(both.server, 100.0, 10.0)
    server.shake(client.shake())
    server.shake(client.shake(server.take()))
    assert server.failure is not None
    assert "CERTIFICATE" in str(server.failure)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        client.hear(server.take())
    both.authority.issue_cert("client").configure_cert(both.client)
    client, server = TlsClient(both.client), TlsSession(both.server, 100.0, 10.0)
    client.meet(server)
    assert server.tls.getpeercert() is not None


def test_a_session_is_resumed(both: Contexts) -> None:
    client, server = met(both)
    assert not server.tls.session_reused
    again = TlsClient(both.client, client.tls.session)
    resumed = TlsSession(both.server, 100.0, 10.0)
    again.meet(resumed)
    assert resumed.tls.session_reused
